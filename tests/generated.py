"""Generated worlds and their ratings, made once for all tests of the generator."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from recsys_spark.generate.preset import Preset, find_preset
from recsys_spark.generate.ratings import Ratings, draw_ratings
from recsys_spark.generate.world import World, draw_world

TINY = Preset(
    name="tiny",
    users=60,
    cold_users=3,
    films=240,
    rated_films=220,
    ratings=3_000,
    top_activity=120,
    activity_spread=1.0,
    popularity_depth=4.0,
    popularity_shape=0.6,
    chunk_ratings=430,  # 7 chunks
)


@lru_cache
def world(name: str = "demo", seed: int = 42) -> World:
    return draw_world(TINY if name == "tiny" else find_preset(name), seed)


@lru_cache
def ratings(name: str = "demo", seed: int = 42) -> Ratings:
    """All ratings of a world, drawn in one piece."""
    return draw_ratings(world(name, seed), 0, world(name, seed).preset.users)


def item_counts(name: str = "demo") -> np.ndarray:
    return np.bincount(ratings(name).item, minlength=world(name).preset.films)
