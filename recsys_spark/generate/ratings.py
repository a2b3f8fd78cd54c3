"""The ratings of a range of users: films chosen, true score, noise, stars, time. Executor; a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.selection import choose_films
from recsys_spark.generate.world import Index, World


@dataclass(frozen=True)
class Ratings:
    """n ratings, sorted by user and film.

    Attributes
    ----------
    user, item : (n,) int32
        Indices into the world.
    code : (n,) uint8
        The rating in half stars, 1..10.
    time : (n,) int64
        Seconds since the epoch, UTC.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    code: NDArray[np.uint8]
    time: NDArray[np.int64]


def draw_ratings(world: World, first: int, last: int) -> Ratings:
    """All ratings of users first..last-1."""
    user, item = choose_films(world, first, last)
    noise = Stream(world.seed, "rating.noise").normal(user, item)
    code = to_stars(world.score(user, item) + world.spread.noise * noise, world.people.whole_stars[user])
    start = np.maximum(world.people.start[user], world.films.added[item])
    within = Stream(world.seed, "rating.time").uniform(user, item)
    time = start + np.floor(within * (world.people.end[user] - start + 1)).astype(np.int64)
    return Ratings(user.astype(np.int32), item.astype(np.int32), code, time)


def to_stars(opinion: NDArray[np.float64], whole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Opinions in stars to ratings in half stars: rounded to half or whole stars, clipped to 0.5 (or 1) .. 5."""
    half = np.clip(np.floor(2 * opinion + 0.5), 1, 10)
    one = 2 * np.clip(np.floor(opinion + 0.5), 1, 5)
    return np.where(whole, one, half).astype(np.uint8)


def held_out(world: World, user: Index, item: Index) -> NDArray[np.bool_]:
    """Whether a pair is among the random 10 % that the oracles are measured on: a hash of seed, user and film."""
    return Stream(world.seed, "oracle.test").uniform(user, item) < 0.1
