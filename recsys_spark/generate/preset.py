"""The sizes and shapes of the data sets that can be generated, as data."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from recsys_spark.errors import ConfigError

MIN_ACTIVITY = 20
"""Ratings of the least active user, as in every MovieLens release."""

MAX_SHARE_RATED = 0.6
"""A user rates at most this share of the films there are when they leave."""


@dataclass(frozen=True)
class Preset:
    """Size and shape of a data set.

    Attributes
    ----------
    name : str
    users : int
        Users with ratings.
    cold_users : int
        Further users, in users.csv without a rating.
    films : int
        Films in movies.csv.
    rated_films : int
        Films with at least one rating.
    ratings : int
        Number of ratings, exactly.
    top_activity : int
        Ratings of the most active user, exactly.
    activity_spread : float
        Standard deviation of log(ratings of a user - 19).
    popularity_depth, popularity_shape : float
        A film's weight is exp(-depth * (rank / rated films)^shape), rank 0 being the most popular.
    chunk_ratings : int
        Ratings that are drawn at a time: a matter of memory, the ratings do not depend on it.
    parts : bool
        ratings.csv and tags.csv are directories of CSV parts (True) or one file each (False).
    """

    name: str
    users: int
    cold_users: int
    films: int
    rated_films: int
    ratings: int
    top_activity: int
    activity_spread: float
    popularity_depth: float
    popularity_shape: float
    chunk_ratings: int
    parts: bool = False

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.rated_films <= self.films:
            problems.append(f"rated_films must be in 1..films, found {self.rated_films} of {self.films}")
        if not MIN_ACTIVITY <= self.top_activity <= MAX_SHARE_RATED * self.rated_films:
            most = int(MAX_SHARE_RATED * self.rated_films)
            problems.append(f"top_activity must be in {MIN_ACTIVITY}..{most} for the films, found {self.top_activity}")
        least, most = MIN_ACTIVITY * (self.users - 1) + self.top_activity, self.top_activity * self.users
        if not least <= self.ratings <= most:
            problems.append(f"ratings must be in {least}..{most} for the users, found {self.ratings}")
        if problems:
            raise ConfigError(f"preset {self.name!r}: " + "; ".join(problems))


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="demo",
            users=1_000,
            cold_users=10,
            films=1_500,
            rated_films=1_450,
            ratings=100_000,
            top_activity=800,
            activity_spread=1.3,
            popularity_depth=7.0,
            popularity_shape=0.6,
            chunk_ratings=25_000,
        ),
        Preset(
            name="1m",
            users=6_000,
            cold_users=40,
            films=4_000,
            rated_films=3_850,
            ratings=1_000_000,
            top_activity=2_300,
            activity_spread=1.4,
            popularity_depth=8.0,
            popularity_shape=0.7,
            chunk_ratings=125_000,
        ),
        Preset(
            name="32m",
            users=200_948,
            cold_users=1_000,
            films=87_585,
            rated_films=84_432,
            ratings=32_000_204,
            top_activity=33_332,
            activity_spread=1.57,
            popularity_depth=13.2,
            popularity_shape=0.3,
            chunk_ratings=250_000,
            parts=True,
        ),
        Preset(
            name="320m",
            users=2_009_480,
            cold_users=10_000,
            films=270_000,
            rated_films=260_000,
            ratings=320_002_040,
            top_activity=100_000,
            activity_spread=1.57,
            popularity_depth=13.2,
            popularity_shape=0.3,
            chunk_ratings=250_000,
            parts=True,
        ),
    )
}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    ConfigError
        There is no such preset; the message has the nearest and all known ones.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"unknown preset {name!r} of the generator.{hint} Known: {', '.join(PRESETS)}")
