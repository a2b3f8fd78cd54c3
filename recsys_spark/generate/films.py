"""The catalogue of a generated data set: years, genres, popularity, and when each film was added. Driver only."""

from __future__ import annotations

import calendar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from recsys_spark.generate.facts import (
    GENRES,
    LAST_FILM_ADDED,
    NO_GENRES_SHARE,
    QUIRKS,
    SITE_OPENS,
    YEARS,
)
from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.preset import Preset

_OPENING_SHARE = 0.12
"""Share of the films that are there on the first day, before the catalogue starts to grow."""


@dataclass(frozen=True)
class Films:
    """Every film, rated ones first and in the order in which they were added: who knows the end of a user's stay knows
    the films they can have rated, a prefix. N films, R of them rated.

    Attributes
    ----------
    ids : (N,) int64
        movieId, with gaps as in MovieLens; they rise with the time of adding, but for rated and cold films mixed.
    years : (N,) int64
        Year of release (also of the films whose title does not tell).
    genres : (N, 19) bool
        In the order of `facts.GENRES`; 8 % of the films have none.
    added : (N,) int64
        When the film was added, in seconds since the epoch, UTC.
    rank : (N,) int64
        Popularity: 0 is the most popular film; cold films come last, from R.
    weight : (R,) float64
        How likely a film is to be chosen, relative to the most popular (1.0).
    twin_of : (N,) int64
        Index of another film whose title (and year) this one has too, or -1.
    """

    ids: NDArray[np.int64]
    years: NDArray[np.int64]
    genres: NDArray[np.bool_]
    added: NDArray[np.int64]
    rank: NDArray[np.int64]
    weight: NDArray[np.float64]
    twin_of: NDArray[np.int64]

    @property
    def rated(self) -> int:
        """R, the number of films that have ratings."""
        return len(self.weight)


def draw_films(preset: Preset, seed: int) -> Films:
    """All films of a data set: a function of preset and seed alone."""
    n = preset.films
    film = np.arange(n)
    twin_of = _twins(seed, n)
    years = _years(seed, film)
    years = np.where(twin_of >= 0, years[twin_of], years)
    rank = _rank(seed, film, years)
    added = _added(seed, film, years, rank / n)

    order = np.lexsort((rank, added, rank >= preset.rated_films))
    years, rank, added = years[order], rank[order], added[order]
    place = np.empty(n, np.int64)
    place[order] = film
    twin_of = np.where(twin_of[order] >= 0, place[twin_of[order]], -1)

    share = rank[: preset.rated_films] / preset.rated_films
    return Films(
        ids=_ids(seed, added, rank),
        years=years,
        genres=_genres(seed, film),
        added=added,
        rank=rank,
        weight=np.exp(-preset.popularity_depth * share**preset.popularity_shape),
        twin_of=twin_of,
    )


def _years(seed: int, film: NDArray[np.int64]) -> NDArray[np.int64]:
    first, length, share = (np.array(column) for column in zip(*YEARS, strict=True))
    ends = np.cumsum(share) / np.sum(share)
    span = np.searchsorted(ends, Stream(seed, "film.span").uniform(film))
    within = Stream(seed, "film.year").uniform(film)
    return (first[span] + np.floor(within * length[span])).astype(np.int64)


def _rank(seed: int, film: NDArray[np.int64], years: NDArray[np.int64]) -> NDArray[np.int64]:
    """Popularity at random, with a bonus for the three decades that MovieLens' users grew up with."""
    appeal = Stream(seed, "film.appeal").normal(film) + 0.6 * ((years >= 1985) & (years < 2015))
    rank = np.empty(len(film), np.int64)
    rank[np.argsort(-appeal, kind="stable")] = film
    return rank


def _first_day(years: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 January of each year in seconds since the epoch, but not before the site opens."""
    known, back = np.unique(years, return_inverse=True)
    seconds = np.array([calendar.timegm((int(year), 1, 1, 0, 0, 0)) for year in known])
    return np.maximum(seconds, SITE_OPENS)[back]


def _added(
    seed: int, film: NDArray[np.int64], years: NDArray[np.int64], obscurity: NDArray[np.float64]
) -> NDArray[np.int64]:
    """A film is added after its year has begun, and the more obscure, the later: the catalogue's tail came last."""
    u = Stream(seed, "film.added").uniform(film)
    grown = np.clip((u - _OPENING_SHARE) / (1 - _OPENING_SHARE), 0, 1) ** (3.0 - 2.0 * obscurity)
    waiting = Stream(seed, "film.waiting").uniform(film) * 300 * 86_400
    released = _first_day(years) + waiting * (years >= 1996)
    grown_to = SITE_OPENS + grown * (LAST_FILM_ADDED - SITE_OPENS)
    return np.clip(grown_to, released, LAST_FILM_ADDED).astype(np.int64)


def _genres(seed: int, film: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Genres by thresholds on correlated normals (a Gaussian copula): shares exact in expectation, pairs as real."""
    table = np.array(list(GENRES.values()))
    share, loadings = table[:, 0], table[:, 1:]
    traits = np.column_stack([Stream(seed, f"film.trait.{t}").normal(film) for t in range(3)])
    own = np.sqrt(1 - np.sum(loadings**2, axis=1))
    # Films that get none below are given one by share: 0.87 leaves room for that, so that the totals come out right.
    threshold = ndtri(1 - 0.87 * share)
    has = np.empty((len(film), len(share)), bool)
    for g in range(len(share)):
        noise = Stream(seed, f"film.genre.{g}").normal(film)
        has[:, g] = np.einsum("nt,t->n", traits, loadings[g]) + own[g] * noise > threshold[g]
    empty = ~has.any(axis=1)
    one = np.searchsorted(np.cumsum(share) / share.sum(), Stream(seed, "film.one_genre").uniform(film))
    has[empty, one[empty]] = True
    has[Stream(seed, "film.no_genre").uniform(film) < NO_GENRES_SHARE] = False
    return has


def _twins(seed: int, n: int) -> NDArray[np.int64]:
    """Pairs of films that will share title and year: for one film of each pair the index of the other, else -1."""
    pairs = max(1, round(QUIRKS["shared_title"] * n))
    shuffled = np.argsort(Stream(seed, "film.twins").bits(np.arange(n)), kind="stable")
    twin_of = np.full(n, -1)
    twin_of[shuffled[:pairs]] = shuffled[pairs : 2 * pairs]
    return twin_of


def _ids(seed: int, added: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positive ids with gaps that widen: dense at the start, one in five used at the end, as in MovieLens."""
    n = len(added)
    order = np.lexsort((rank, added))
    place = np.arange(n)
    gaps = 1 + np.floor(Stream(seed, "film.id").uniform(place) * 8 * (place / n) ** 2).astype(np.int64)
    ids = np.empty(n, np.int64)
    ids[order] = np.cumsum(gaps)
    return ids
