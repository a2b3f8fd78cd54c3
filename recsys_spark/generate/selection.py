"""Which films each user rates: without replacement, by popularity, taste and what there was to see. Executor.

A user draws from the films that had been added by the end of their stay with weight popularity_i * liking(p_u . q_i).
Two ways, one distribution: most users draw one film after another and reject what they dislike or have; users who rate
a large part of the catalogue get a random arrival time Exp(1) / weight for every film and take the n first arrivals
(whose order is that of successive draws without replacement). Neither needs users x films memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recsys_spark.generate.hashing import Stream, chain, to_uniform
from recsys_spark.generate.world import World

_LIKING = 1.5
"""How much taste decides on what is watched: log odds per star of p.q."""
_HEAVY_SHARE = 0.04
"""Users who rate more than this share of the films they can choose from take the second way."""


def choose_films(world: World, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The (user, film) pairs of users first..last-1, sorted by user and film, as indices into the world.

    The number of pairs of each user is their activity; no pair occurs twice.
    """
    people, films = world.people, world.films
    wanted = people.activity[first:last]
    choice = np.searchsorted(films.added[: films.rated], people.end[first:last], side="right")
    forced_film = np.flatnonzero((people.first_raters >= first) & (people.first_raters < last))
    forced = np.sort((people.first_raters[forced_film] - first) * films.rated + forced_film)
    heavy = wanted > _HEAVY_SHARE * choice
    forced_heavy = heavy[forced // films.rated]
    pairs = [_draw_light(world, first, np.where(heavy, 0, wanted), choice, forced[~forced_heavy])]
    for user in np.flatnonzero(heavy):
        own = forced[forced // films.rated == user] % films.rated
        pairs.append(user * films.rated + _draw_heavy(world, first + user, int(wanted[user]), int(choice[user]), own))
    keys = np.sort(np.concatenate(pairs))
    return keys // films.rated + first, keys % films.rated


def _draw_light(
    world: World,
    first: int,
    wanted: NDArray[np.int64],
    choice: NDArray[np.int64],
    forced: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Draws with rejection, in rounds over all users of the chunk at once; pairs as keys user * R + film.

    A user's pairs are the forced ones and then the first that pass, in the order of the draws' numbers: so the size of
    the rounds does not matter to the result.
    """
    rated = world.films.rated
    cumulative = np.cumsum(world.films.weight)
    draw_state = Stream(world.seed, "choice.draw").bits(first + np.arange(len(wanted)))
    like_state = Stream(world.seed, "choice.like").bits(first + np.arange(len(wanted)))
    drawn = np.zeros(len(wanted), np.int64)
    kept = forced
    missing = wanted - np.bincount(forced // rated, minlength=len(wanted))
    while np.any(missing > 0):
        size = np.where(missing > 0, 3 * missing + 4, 0)
        user = np.repeat(np.arange(len(wanted)), size)
        number = drawn[user] + np.arange(len(user)) - np.repeat(np.cumsum(size) - size, size)
        drawn += size
        u = to_uniform(chain(draw_state[user], number))
        film = np.searchsorted(cumulative, u * cumulative[choice[user] - 1])
        film = np.minimum(film, choice[user] - 1)
        passed = to_uniform(chain(like_state[user], number)) < expit(_LIKING * world.interaction(first + user, film))
        keys = np.concatenate([kept, (user * rated + film)[passed]])
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])]
        kept = _first_of_each(keys, keys // rated, wanted)
        missing = wanted - np.bincount(kept // rated, minlength=len(wanted))
    return kept


def _first_of_each(keys: NDArray[np.int64], owner: NDArray[np.int64], limit: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first `limit[o]` keys of every owner o, in their order."""
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=len(limit))
    place = np.arange(len(keys)) - np.repeat(np.cumsum(count) - count, count)
    return keys[order[place < limit[owner[order]]]]


def _draw_heavy(world: World, user: int, wanted: int, choice: int, forced: NDArray[np.int64]) -> NDArray[np.int64]:
    """The films that arrive first."""
    film = np.arange(choice)
    liking = expit(_LIKING * np.einsum("nf,f->n", world.items.theta[:choice, :-1], world.users.theta[user, :-1]))
    arrival = -np.log(Stream(world.seed, "choice.arrival").uniform(user, film)) / (world.films.weight[:choice] * liking)
    arrival[forced] = -1.0
    return np.argpartition(arrival, wanted - 1)[:wanted]
