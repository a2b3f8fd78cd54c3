"""Paired tests by hand-made differences: what each can reach, and what it says of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys_spark.ablation.outcome import Outcome, by_user, summary
from recsys_spark.ablation.statistics import adjusted, compare, corrected_t
from recsys_spark.evaluate.rating import RatingSums


def outcome(squared: np.ndarray, rows: np.ndarray, users: np.ndarray) -> Outcome:
    sums = RatingSums(n=int(rows.sum()), squared=float(squared.sum()), absolute=1.0, hits=3)
    return Outcome((RatingSums(), sums), 0.5, 0.1, 2.0, users, squared, rows, (0.9, 0.5))


def study(folds: int, gain: float, noise: float, seed: int = 0) -> tuple[list[Outcome], list[Outcome]]:
    """A full model, and a variant whose squared errors are `gain` larger on average, by user and fold."""
    rng = np.random.default_rng(seed)
    full, variant = [], []
    for _ in range(folds):
        users = np.sort(rng.choice(300, 200, replace=False))
        rows = rng.integers(1, 9, 200)
        squared = rows * rng.uniform(0.4, 1.0, 200)
        full.append(outcome(squared, rows, users))
        variant.append(outcome(squared + rows * (gain + noise * rng.normal(size=200)), rows, users))
    return full, variant


def test_a_variant_that_is_worse_everywhere():
    five, ten = (compare(*study(folds, 0.05, 0.1), 0.25, 999, 1) for folds in (5, 10))
    assert (five.worse_folds, five.folds) == (5, 5)
    assert five.p_sign == five.p_wilcoxon == pytest.approx(2 / 2**5)
    assert ten.p_sign == ten.p_wilcoxon == pytest.approx(2 / 2**10)
    assert ten.p_corrected_t < 0.001
    assert five.low < five.difference < five.high
    assert five.low > 0
    assert five.p_users == pytest.approx(2 / 1000)  # as small as 999 resamples can say
    assert 0 < five.users_low < five.users_difference < five.users_high
    assert five.difference == pytest.approx(five.users_difference, rel=0.1)
    assert five.worse_users > 0.7


def test_a_variant_that_is_the_same():
    full, _ = study(5, 0.0, 0.0)
    same = compare(full, full, 0.25, 99, 1)
    assert (same.difference, same.low, same.high, same.worse_folds) == (0.0, 0.0, 0.0, 0)
    assert same.p_sign == same.p_wilcoxon == same.p_corrected_t == same.p_users == 1.0
    assert math.isnan(same.worse_users)
    assert same.record()["worse_users"] is None


def test_noise_alone_is_no_effect():
    p = [compare(*study(5, 0.0, 0.1, seed), 0.25, 199, seed).p_users for seed in range(20)]
    assert sum(value < 0.05 for value in p) <= 4


def test_overlapping_training_sets_widen_the_interval():
    d = np.array([0.01, 0.02, 0.03])
    narrow, wide = corrected_t(d, 0.0), corrected_t(d, 0.5)
    # s = 0.01, t(0.975, 2) = 4.3027: 4.3027 · 0.01 · √(1/3) and √(1/3 + 1/2)
    assert narrow[:2] == pytest.approx((0.02 - 0.024841, 0.02 + 0.024841), abs=1e-5)
    assert wide[:2] == pytest.approx((0.02 - 0.039278, 0.02 + 0.039278), abs=1e-5)
    assert wide[2] > narrow[2]
    assert all(math.isnan(value) for value in corrected_t(d[:1], 0.5))
    assert corrected_t(np.full(3, 0.5), 0.5) == (0.5, 0.5, 0.0)


def test_p_values_are_adjusted_over_variants():
    assert adjusted([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.04, 0.04], nan_ok=True)
    assert all(math.isnan(value) for value in adjusted([math.nan]))


def test_users_are_added_up_over_folds():
    one = outcome(np.array([1.0, 2.0]), np.array([1, 1]), np.array([3, 5]))
    two = outcome(np.array([4.0, 8.0]), np.array([2, 3]), np.array([5, 9]))
    ids, squared, rows = by_user([one, two])
    assert (ids.tolist(), squared.tolist(), rows.tolist()) == ([3, 5, 9], [1.0, 6.0, 8.0], [1, 3, 3])


def test_a_summary_is_means_over_folds_and_bins_over_all():
    one = outcome(np.array([1.0, 2.0]), np.array([1, 2]), np.array([3, 5]))
    two = outcome(np.array([4.0, 8.0]), np.array([2, 1]), np.array([5, 9]))
    found = summary([one, two])
    assert found["rmse"] == pytest.approx((1 + 2) / 2)
    assert found["rmse_folds"] == pytest.approx([1.0, 2.0])
    assert found["rmse_cold"] is None
    assert found["bins"] == [{"rmse": None, "rows": 0}, {"rmse": pytest.approx(math.sqrt(15 / 6)), "rows": 6}]
