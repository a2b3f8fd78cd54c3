"""The planted truth: biases and rank-8 factors of users and films, and how they follow groups, genres and years.

score(u, i) = mean + b_u + c_i + p_u . q_i, with

    q_i = W_genre' x_i + W_year' y_i + free      x_i: genres, summing to 1 (or none); y_i: one-hot five-year bin
    c_i = w_genre . x_i + w_year . y_i + a popularity_i + constant + free
    p_u = G[group of u] + free
    b_u = g[group of u] + free
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from recsys_spark.generate.facts import GENRES, GROUPS, YEARS
from recsys_spark.generate.films import Films
from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.people import People

RANK = 8
"""Width of the planted factors."""

_YEAR_BIN = 5


@dataclass(frozen=True)
class Spread:
    """How much of a rating each part explains: standard deviations in stars, except where said."""

    mean: float = 3.53
    noise: float = 0.79
    user_bias: float = 0.40
    item_bias: float = 0.50
    interaction: float = 0.46
    group_share: float = 0.30  # share of the variance of p that the group explains
    group_bias_share: float = 0.10  # the same for b
    genre_share: float = 0.40  # shares of the variance of q
    year_share: float = 0.12
    genre_bias_share: float = 0.15  # shares of the variance of c
    year_bias_share: float = 0.10
    popularity_bias_share: float = 0.20


SPREAD = Spread()


@dataclass(frozen=True)
class Side:
    """True parameters of one side's n rows, and the prior they were drawn from.

    Attributes
    ----------
    theta : (n, 9) float64
        Factors, then the bias in the last column.
    prior_mean : (n, 9) float64
        What features (genres, year, popularity; group) say of `theta`.
    prior_var : (9,) float64
        Variance of the free part that is left, per column.
    """

    theta: NDArray[np.float64]
    prior_mean: NDArray[np.float64]
    prior_var: NDArray[np.float64]


def item_features(films: Films) -> NDArray[np.float64]:
    """(N, 19 + bins) genres with row sum 1 (or 0), then the five-year bin of the year, one-hot."""
    count = films.genres.sum(axis=1, keepdims=True)
    genres = films.genres / np.maximum(count, 1)
    first = YEARS[0][0] // _YEAR_BIN
    bins = films.years // _YEAR_BIN - first
    width = (YEARS[-1][0] + YEARS[-1][1] - 1) // _YEAR_BIN - first + 1
    return np.hstack([genres, np.eye(width)[bins]])


def draw_items(films: Films, seed: int, spread: Spread = SPREAD) -> Side:
    """True parameters of all N films (cold ones too). Driver."""
    n = len(films.ids)
    x = item_features(films)
    genres, years = x[:, : len(GENRES)], x[:, len(GENRES) :]
    by_genre = _centred(genres @ _table(seed, "genre", len(GENRES)))
    by_year = _centred(years @ _smooth(seed, years.shape[1]))
    var = np.append(np.full(RANK, spread.interaction / np.sqrt(RANK)), spread.item_bias**2)
    genre_share = np.append(np.full(RANK, spread.genre_share), spread.genre_bias_share)
    year_share = np.append(np.full(RANK, spread.year_share), spread.year_bias_share)
    known_share = np.append(np.zeros(RANK), spread.popularity_bias_share)
    # Normal scores of the popularity; cold films are as unknown as the least popular.
    popularity = ndtri(1 - (np.minimum(films.rank, films.rated - 1) + 0.5) / films.rated)
    prior = _scaled(by_genre, genre_share * var) + _scaled(by_year, year_share * var)
    prior += popularity[:, None] * np.sqrt(known_share * var)
    # Popular films are better, and their share of the ratings depends on the preset: without this, so would the mean.
    prior[:, -1] -= np.average(prior[: films.rated, -1], weights=films.weight)
    left = var * (1 - genre_share - year_share - known_share)
    free = np.column_stack([Stream(seed, f"item.free.{f}").normal(np.arange(n)) for f in range(RANK + 1)])
    return Side(theta=prior + free * np.sqrt(left), prior_mean=prior, prior_var=left)


def draw_users(people: People, seed: int, spread: Spread = SPREAD) -> Side:
    """True parameters of all users with ratings. Driver."""
    n = len(people.activity)
    shares = np.array(list(GROUPS.values()))
    table = _table(seed, "group", len(GROUPS))
    table -= np.einsum("g,gf->f", shares / shares.sum(), table)  # factors of mean 0: films' biases stay c_i
    var = np.append(np.full(RANK, spread.interaction / np.sqrt(RANK)), spread.user_bias**2)
    share = np.append(np.full(RANK, spread.group_share), spread.group_bias_share)
    table *= np.sqrt(share * var / np.einsum("g,gf->f", shares / shares.sum(), table**2))
    prior = table[people.group[:n]]
    left = var * (1 - share)
    free = np.column_stack([Stream(seed, f"user.free.{f}").normal(np.arange(n)) for f in range(RANK + 1)])
    return Side(theta=prior + free * np.sqrt(left), prior_mean=prior, prior_var=left)


def _table(seed: int, name: str, rows: int) -> NDArray[np.float64]:
    """(rows, 9) standard normal numbers: a vector for each genre or group, the bias last."""
    return Stream(seed, f"table.{name}").normal(np.arange(rows)[:, None], np.arange(RANK + 1)[None, :])


def _smooth(seed: int, bins: int) -> NDArray[np.float64]:
    """(bins, 9) sine waves over the years, each of a phase and a length of its own: neighbouring years are alike."""
    u = Stream(seed, "table.year").uniform(np.arange(RANK + 1)[None, :], np.arange(2)[:, None])
    phase, length = 2 * np.pi * u[0], 8 + 12 * u[1]
    return np.sin(2 * np.pi * np.arange(bins)[:, None] / length + phase)


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - values.mean(axis=0)


def _scaled(values: NDArray[np.float64], var: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 brought to the given variances."""
    return values * np.sqrt(var / np.maximum((values**2).mean(axis=0), 1e-12))
