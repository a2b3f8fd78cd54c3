"""How well the planted truth could be predicted: the errors that a model's test RMSE is to be measured against.

All are RMSEs on the held-out random 10 % of the ratings, after rounding and clipping:

- `floor_rmse`: who knows the true score s predicts E[rating | s], a sum of normal CDFs at the edges between stars.
- `user_oracle`: who knows the films (bias, factors), the noise and the priors that users were drawn from, and has the
  other 90 % of the ratings: each user is solved for alone.
- `item_oracle`: the mirror image: users known, each film solved for from its ratings.
- `oracle_rmse` = sqrt(user_oracle^2 + item_oracle^2 - floor_rmse^2).

Why that formula: a prediction's squared error is the floor's plus what comes from not knowing the rows exactly. To
first order in the estimation errors, the score's error is x_i . (error of user) + x_u . (error of film); the two come
from different noise and different priors, so their squares add: user^2 - floor^2 and item^2 - floor^2 on top of
floor^2. It leaves out the product of both errors, and that a model has to estimate mean, projections and variances
too: it will stay a little above this mark.

The solve. A rating says that opinion y = s + noise lay in a cell [low, high) (unbounded at both ends of the scale).
The row's parameters have a normal prior; the mode of their posterior under such interval data is found by EM: replace
each y by its mean in the cell given the current score, then solve the ridge regression. The prediction integrates
over what remains unknown: E[rating] under a score of the posterior's mean and variance, which only widens the floor's
normal CDFs.

Executor; NumPy alone. The same functions serve users and films.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from recsys_spark.generate.ratings import held_out
from recsys_spark.generate.taste import Side
from recsys_spark.generate.world import Index, World

_STEPS = 8
_HALF_EDGES = np.arange(0.75, 5.0, 0.5)
_WHOLE_EDGES = np.arange(1.5, 5.0, 1.0)


@dataclass(frozen=True)
class Rows:
    """Ratings of m rows (users, or films) as a regression for each row on the other side's true parameters.

    Attributes
    ----------
    owner : (n,) int64
        Row of each rating, 0..m-1.
    x : (n, k) float64
        The other side's factors, then 1 for the bias.
    known : (n,) float64
        Mean plus the other side's bias.
    code : (n,) uint8
        Ratings in half stars.
    whole : (n,) bool
        Ratings by users who give whole stars only.
    prior_mean : (m, k) float64
    prior_var : (k,) float64
    noise : float
        Standard deviation of the noise, in stars.
    """

    owner: NDArray[np.int64]
    x: NDArray[np.float64]
    known: NDArray[np.float64]
    code: NDArray[np.uint8]
    whole: NDArray[np.bool_]
    prior_mean: NDArray[np.float64]
    prior_var: NDArray[np.float64]
    noise: float


def expected_rating(
    score: NDArray[np.float64], deviation: NDArray[np.float64], whole: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """E[rating] of opinions that are normal around `score`, after rounding and clipping (all of shape (n,))."""
    result = np.empty(len(score))
    for rows, edges, lowest, step in ((whole, _WHOLE_EDGES, 1.0, 1.0), (~whole, _HALF_EDGES, 0.5, 0.5)):
        above = ndtr((score[rows, None] - edges) / deviation[rows, None])
        result[rows] = lowest + step * above.sum(axis=1)
    return result


def posterior(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mode (m, k) and covariance (m, k, k) of the parameters of every row, given its ratings."""
    m, k = rows.prior_mean.shape
    precision = np.zeros((m, k, k))
    for a in range(k):
        for b in range(a + 1):
            gram = np.bincount(rows.owner, rows.x[:, a] * rows.x[:, b], minlength=m)
            precision[:, a, b] = precision[:, b, a] = gram / rows.noise**2
        precision[:, a, a] += 1 / rows.prior_var[a]
    covariance: NDArray[np.float64] = np.asarray(np.linalg.inv(precision), np.float64)
    low, high = _cell(rows.code, rows.whole)
    theta = rows.prior_mean
    opinion = rows.code / 2.0
    for step in range(_STEPS):
        if step > 0:
            score = rows.known + np.einsum("nk,nk->n", rows.x, theta[rows.owner])
            opinion = _mean_in_cell(score, rows.noise, low, high)
        residual = opinion - rows.known - np.einsum("nk,nk->n", rows.x, rows.prior_mean[rows.owner])
        right = np.column_stack([np.bincount(rows.owner, rows.x[:, a] * residual, minlength=m) for a in range(k)])
        theta = rows.prior_mean + np.einsum("mab,mb->ma", covariance, right / rows.noise**2)
    return theta, covariance


def squared_errors(rows: Rows, test: NDArray[np.bool_]) -> float:
    """Sum of squared errors on the `test` ratings (n,) of predictions learned from the others."""
    train = Rows(
        rows.owner[~test],
        rows.x[~test],
        rows.known[~test],
        rows.code[~test],
        rows.whole[~test],
        rows.prior_mean,
        rows.prior_var,
        rows.noise,
    )
    theta, covariance = posterior(train)
    x, owner = rows.x[test], rows.owner[test]
    score = rows.known[test] + np.einsum("nk,nk->n", x, theta[owner])
    unknown = np.einsum("na,nab,nb->n", x, covariance[owner], x)
    predicted = expected_rating(score, np.sqrt(rows.noise**2 + unknown), rows.whole[test])
    return float(np.sum((rows.code[test] / 2.0 - predicted) ** 2))


def floor_errors(world: World, user: Index, item: Index, code: NDArray[np.uint8]) -> float:
    """Sum of squared errors of E[rating | true score] on the held-out ones of these ratings."""
    test = held_out(world, user, item)
    user, item = user[test], item[test]
    deviation = np.full(len(user), world.spread.noise)
    predicted = expected_rating(world.score(user, item), deviation, world.people.whole_stars[user])
    return float(np.sum((code[test] / 2.0 - predicted) ** 2))


def user_errors(world: World, user: Index, item: Index, code: NDArray[np.uint8]) -> float:
    """Sum of squared errors on the held-out ratings when users are learned; all ratings of the users must be given."""
    rows = _rows(world, world.users, user, world.items, item, code, world.people.whole_stars[user])
    return squared_errors(rows, held_out(world, user, item))


def item_errors(world: World, user: Index, item: Index, code: NDArray[np.uint8]) -> float:
    """Sum of squared errors on the held-out ratings when films are learned; all ratings of the films must be given."""
    rows = _rows(world, world.items, item, world.users, user, code, world.people.whole_stars[user])
    return squared_errors(rows, held_out(world, user, item))


def _rows(
    world: World,
    own: Side,
    own_index: Index,
    other: Side,
    other_index: Index,
    code: NDArray[np.uint8],
    whole: NDArray[np.bool_],
) -> Rows:
    present, owner = np.unique(own_index, return_inverse=True)
    x = other.theta[other_index]
    known = world.spread.mean + x[:, -1]
    x[:, -1] = 1.0
    return Rows(
        owner=owner,
        x=x,
        known=known,
        code=code,
        whole=whole,
        prior_mean=own.prior_mean[present],
        prior_var=own.prior_var,
        noise=world.spread.noise,
    )


def _cell(code: NDArray[np.uint8], whole: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the opinions that give these ratings."""
    half_width = np.where(whole, 0.5, 0.25)
    low = np.where(code > np.where(whole, 2, 1), code / 2.0 - half_width, -np.inf)
    high = np.where(code < 10, code / 2.0 + half_width, np.inf)
    return low, high


def _mean_in_cell(
    score: NDArray[np.float64], noise: float, low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of a normal opinion known to lie in [low, high)."""
    a, b = (low - score) / noise, (high - score) / noise
    mass = ndtr(b) - ndtr(a)
    density = np.exp(-0.5 * a * a) - np.exp(-0.5 * b * b)
    mean = score + noise * density / (np.sqrt(2 * np.pi) * np.maximum(mass, 1e-12))
    return np.clip(mean, low, high)  # far from the score the quotient is rounding error, but the cell is known
