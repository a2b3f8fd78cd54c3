"""Everything about a data set but its ratings: films, users, true parameters. Made on the driver, sent to tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_spark.generate.films import Films, draw_films
from recsys_spark.generate.people import People, draw_people
from recsys_spark.generate.preset import Preset
from recsys_spark.generate.taste import SPREAD, Side, Spread, draw_items, draw_users

Index = NDArray[np.integer[Any]]
"""Indices of users or films, of any integer type."""


@dataclass(frozen=True)
class World:
    """A data set's seed, its entities, and the planted truth. Users and films are meant by index, not by id."""

    preset: Preset
    seed: int
    spread: Spread
    films: Films
    people: People
    items: Side
    users: Side

    @property
    def chunks(self) -> NDArray[np.int64]:
        """(C + 1,) bounds of C ranges of users with about `chunk_ratings` ratings each: what a task draws at a time."""
        total = np.cumsum(self.people.activity)
        number = max(1, round(self.preset.ratings / self.preset.chunk_ratings))
        cuts = np.searchsorted(total, np.arange(1, number) * (self.preset.ratings / number))
        return np.unique(np.concatenate([[0], cuts, [self.preset.users]]))

    def score(self, user: Index, item: Index) -> NDArray[np.float64]:
        """The true score of (user, item) pairs, in stars, before noise, rounding and clipping."""
        p, q = self.users.theta, self.items.theta
        return self.spread.mean + p[user, -1] + q[item, -1] + self.interaction(user, item)

    def interaction(self, user: Index, item: Index) -> NDArray[np.float64]:
        """p_u . q_i of pairs."""
        return np.einsum("nf,nf->n", self.users.theta[user, :-1], self.items.theta[item, :-1])


def draw_world(preset: Preset, seed: int, spread: Spread = SPREAD) -> World:
    """The world of a preset: a function of preset and seed alone. Driver, a second at 32M's size.

    Raises
    ------
    ConfigError
        The preset's sizes contradict one another.
    """
    films = draw_films(preset, seed)
    people = draw_people(preset, seed, films)
    return World(preset, seed, spread, films, people, draw_items(films, seed, spread), draw_users(people, seed, spread))
