"""The users of a generated data set: group, activity, and the window of time in which each is active. Driver only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from recsys_spark.errors import ConfigError
from recsys_spark.generate.facts import GROUPS, SITE_CLOSES, SITE_OPENS
from recsys_spark.generate.films import Films
from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.preset import MAX_SHARE_RATED, MIN_ACTIVITY, Preset

_DAY = 86_400
_SECONDS_PER_RATING = 6
WHOLE_STAR_SHARE = 0.38
"""Users who never give half stars: with the others' even use of all ten, this makes half stars as rare as they are."""


@dataclass(frozen=True)
class People:
    """Every user: U with ratings, then the cold ones (in users.csv alone), M in all. Ids are 1..M in a mixed order.

    Attributes
    ----------
    ids : (M,) int64
        userId; 1..U in order for the users with ratings.
    group : (M,) int64
        Index into `facts.GROUPS`.
    activity : (U,) int64
        Number of ratings, from 20 up; their sum is the preset's `ratings`.
    start, end : (U,) int64
        First and last second in which the user may rate, since the epoch, UTC.
    whole_stars : (U,) bool
        Users who only give whole stars.
    first_raters : (R,) int64
        For each rated film the user (index) who rates it whatever their taste: so that every one of them has a rating.
    """

    ids: NDArray[np.int64]
    group: NDArray[np.int64]
    activity: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    whole_stars: NDArray[np.bool_]
    first_raters: NDArray[np.int64]


def draw_people(preset: Preset, seed: int, films: Films) -> People:
    """All users of a data set: a function of preset and seed alone.

    Raises
    ------
    ConfigError
        The preset has too few ratings for its number of rated films.
    """
    everyone = np.arange(preset.users + preset.cold_users)
    rating = everyone[: preset.users]
    share = np.cumsum(list(GROUPS.values()))
    group = np.searchsorted(share / share[-1], Stream(seed, "user.group").uniform(everyone))
    activity = _activity(preset, seed)
    start, end = _window(seed, films, activity)
    first_raters = _first_raters(seed, films, activity, end)
    if np.any(np.bincount(first_raters, minlength=preset.users) > activity):
        raise ConfigError(
            f"preset {preset.name!r}: {preset.ratings} ratings are too few to reach {preset.rated_films} films; "
            "raise ratings or lower rated_films"
        )
    return People(
        ids=everyone + 1,
        group=group,
        activity=activity,
        start=start,
        end=end,
        whole_stars=Stream(seed, "user.whole_stars").uniform(rating) < WHOLE_STAR_SHARE,
        first_raters=first_raters,
    )


def _activity(preset: Preset, seed: int) -> NDArray[np.int64]:
    """Quantiles of a shifted log-normal, cut at the top, scaled to the exact total and dealt out in a random order."""
    users, top = preset.users, preset.top_activity
    z = ndtri((np.arange(users) + 0.5) / users)

    def real(location: float) -> NDArray[np.float64]:
        values = np.minimum(MIN_ACTIVITY - 1 + np.exp(location + preset.activity_spread * z), top)
        values[-1] = top
        return np.maximum(values, MIN_ACTIVITY)

    low, high = -50.0, np.log(top) + 50.0
    for _ in range(60):  # bisection: the total rises with the location
        middle = (low + high) / 2
        low, high = (middle, high) if real(middle).sum() <= preset.ratings else (low, middle)
    values = np.floor(real(low)).astype(np.int64)
    # Rounding leaves less than one rating a user over: give them to the most active below the top.
    room = np.flatnonzero(values < top)[::-1]
    missing = preset.ratings - int(values.sum())
    while missing > 0:
        values[room[:missing]] += 1
        missing = preset.ratings - int(values.sum())
        room = room[values[room] < top]
    return values[np.argsort(Stream(seed, "user.activity").bits(np.arange(users)), kind="stable")]


def _window(seed: int, films: Films, activity: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Most users come once, for minutes; the others stay for months or years. Times are uniform over the site's life.

    Who rates many films comes late enough for that many to be there; the most active user never leaves.
    """
    user = np.arange(len(activity))
    once = Stream(seed, "user.once").uniform(user) < 0.6
    z = Stream(seed, "user.span").normal(user)
    days = np.where(once, 0.03 * np.exp(0.9 * z), 120.0 * np.exp(1.6 * z))
    span = np.maximum(days * _DAY, activity * _SECONDS_PER_RATING)
    span = np.minimum(span, 0.9 * (SITE_CLOSES - SITE_OPENS))
    start = SITE_OPENS + Stream(seed, "user.start").uniform(user) * (SITE_CLOSES - SITE_OPENS - span)
    needed = np.ceil(activity / MAX_SHARE_RATED).astype(np.int64)
    enough = films.added[: films.rated][np.minimum(needed, films.rated) - 1]
    delay = np.maximum(enough - (start + span), 0)
    end = np.minimum(start + span + delay, SITE_CLOSES).astype(np.int64)
    end[np.argmax(activity)] = SITE_CLOSES  # there is always somebody left to rate the latest films
    return np.minimum(start + delay, end).astype(np.int64), end


def _first_raters(seed: int, films: Films, activity: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """A user for every rated film, drawn by activity from those who are still there when it is added."""
    film = np.arange(films.rated)
    by_end = np.argsort(end, kind="stable")
    before = np.concatenate([[0], np.cumsum(activity[by_end])])
    gone = before[np.searchsorted(end[by_end], films.added[: films.rated])]
    u = Stream(seed, "film.first_rater").uniform(film)
    drawn = np.floor(gone + u * (before[-1] - gone)).astype(np.int64)
    return by_end[np.searchsorted(before, drawn, side="right") - 1]
