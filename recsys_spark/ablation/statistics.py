"""Paired tests of a variant against the full model: over folds, and over users; SciPy's tests, no Spark here.

Folds: each pair of models was fitted and judged on the same K splits, d_k = RMSE of the variant − RMSE of full.

- Sign test and Wilcoxon's signed ranks: with K folds p cannot be below 2 / 2ᴷ (K = 5: 0.0625, K = 10: 0.002).
- Corrected resampled t (Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003):
  training sets overlap, so the variance of the mean is (1/K + n₂/n₁) s², n₂/n₁ being test over training ratings.

Users: every rating is judged once, so a user has one squared error over all folds by each model. The interval is that
of the difference of pooled RMSEs when users are resampled (percentiles), the p-value that of exchanging the two models'
errors within users at random. Users are not quite independent: they share the items' factors, and folds share training
ratings, so the interval is of new users of these models rather than of new models.

Across variants p-values are adjusted after Benjamini and Hochberg (1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from recsys_spark.ablation.outcome import Outcome, by_user

LEVEL = 0.95
_ALPHA = 1 - LEVEL
TESTS = ("p_sign", "p_wilcoxon", "p_corrected_t", "p_users")
"""P-values of a comparison, two-sided."""


@dataclass(frozen=True)
class Comparison:
    """A variant against the full model; differences are variant − full in rating units, so above 0: full is better.

    Attributes
    ----------
    difference : mean over folds of the difference of RMSEs
    low, high : 95 % corrected interval of it over folds
    worse_folds : folds in which the variant is worse
    users_difference, users_low, users_high : difference of the pooled RMSEs, and its 95 % bootstrap interval over users
    worse_users : share of users whose squared error is larger by the variant, of those where it differs
    """

    folds: int
    difference: float
    low: float
    high: float
    worse_folds: int
    p_sign: float
    p_wilcoxon: float
    p_corrected_t: float
    users: int
    users_difference: float
    users_low: float
    users_high: float
    worse_users: float
    p_users: float

    def record(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def compare(full: Sequence[Outcome], variant: Sequence[Outcome], ratio: float, resamples: int, seed: int) -> Comparison:
    """Compare outcomes on the same folds, in the same order.

    Parameters
    ----------
    ratio : n₂/n₁, test over training ratings
    resamples : of users, for the interval and the p-value over users
    """
    d = np.array([v.whole.rmse - f.whole.rmse for f, v in zip(full, variant, strict=True)])
    low, high, p_t = corrected_t(d, ratio)
    worse, better = int((d > 0).sum()), int((d < 0).sum())
    users = _over_users(full, variant, resamples, seed)
    return Comparison(
        folds=len(d),
        difference=float(d.mean()),
        low=low,
        high=high,
        worse_folds=worse,
        p_sign=float(stats.binomtest(worse, worse + better).pvalue) if worse + better else 1.0,
        p_wilcoxon=float(stats.wilcoxon(d).pvalue) if worse + better else 1.0,
        p_corrected_t=p_t,
        **users,
    )


def corrected_t(differences: np.ndarray, ratio: float) -> tuple[float, float, float]:
    """Interval of the mean and two-sided p-value; (NaN, NaN, NaN) of fewer than two folds.

    >>> [round(x, 4) for x in corrected_t(np.array([0.02, 0.03, 0.025, 0.03, 0.02]), 0.25)]
    [0.0157, 0.0343, 0.0017]
    """
    n = len(differences)
    if n < 2:
        return math.nan, math.nan, math.nan
    mean = float(differences.mean())
    error = math.sqrt((1 / n + ratio) * float(differences.var(ddof=1)))
    if error == 0.0:
        return mean, mean, float(mean == 0)
    reach = float(stats.t.ppf(1 - _ALPHA / 2, n - 1)) * error
    return mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, n - 1))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values after Benjamini and Hochberg; NaN stays NaN and does not count."""
    p = np.asarray(p_values, np.float64)
    out, known = np.full(len(p), math.nan), ~np.isnan(p)
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return [float(value) for value in out]


def _over_users(full: Sequence[Outcome], variant: Sequence[Outcome], resamples: int, seed: int) -> dict[str, Any]:
    (ids, ours, rows), (_, theirs, _) = by_user(full), by_user(variant)
    differs = ours != theirs
    found = {"users": len(ids), "users_difference": float(_pooled(theirs, ours, rows))}
    if not differs.any() or len(ids) < 2:
        return {**found, "users_low": 0.0, "users_high": 0.0, "worse_users": math.nan, "p_users": 1.0}
    generator = np.random.default_rng(seed)
    interval = stats.bootstrap(
        (theirs, ours, rows), _pooled, paired=True, vectorized=True, n_resamples=resamples, batch=256,
        confidence_level=LEVEL, method="percentile", rng=generator,
    ).confidence_interval  # fmt: skip
    test = stats.permutation_test(
        (theirs, ours), _total_difference, permutation_type="samples", vectorized=True, n_resamples=resamples,
        batch=256, rng=generator,
    )  # fmt: skip
    return {
        **found,
        "users_low": float(interval.low),
        "users_high": float(interval.high),
        "worse_users": float((theirs > ours).sum() / differs.sum()),
        "p_users": float(test.pvalue),
    }


def _pooled(theirs: np.ndarray, ours: np.ndarray, rows: np.ndarray, axis: int = -1) -> Any:
    n = rows.sum(axis=axis)
    return np.sqrt(theirs.sum(axis=axis) / n) - np.sqrt(ours.sum(axis=axis) / n)


def _total_difference(theirs: np.ndarray, ours: np.ndarray, axis: int = -1) -> Any:
    return theirs.sum(axis=axis) - ours.sum(axis=axis)
