"""Metrics on arrays: by hand, and from their definitions on random data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.evaluate.rating import (
    RatingSums,
    bin_labels,
    bin_of,
    nearest_class,
    rating_classes,
    rmse,
    sums_by_bin,
    total,
)

HALF_STARS = rating_classes(0.5, 5.0, 0.5)


def test_rmse_of_itself_is_zero():
    x = np.array([0.5, 3.0, 5.0], np.float32)
    assert rmse(x, x) == 0
    assert math.isnan(rmse(x[:0], x[:0]))
    assert rmse(np.array([1.0, 1.0]), np.array([4.0, 5.0])) == math.sqrt(12.5)


def test_classes_of_a_scale():
    assert HALF_STARS.tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert len(rating_classes(0.1, 0.7, 0.1)) == 7  # (0.7 − 0.1) / 0.1 is a hair under 6 in binary


@pytest.mark.parametrize(
    ("value", "chosen"),
    [(-7.0, 0.5), (0.5, 0.5), (2.74, 2.5), (2.75, 3.0), (3.25, 3.5), (3.249, 3.0), (5.0, 5.0), (99.0, 5.0)],
)
def test_nearest_class_clips_and_takes_ties_upwards(value, chosen):
    assert HALF_STARS[nearest_class(np.array([value]), HALF_STARS)[0]] == chosen


def test_nearest_class_on_uneven_classes():
    assert nearest_class(np.array([1.9, 2.0, 3.1]), np.array([1.0, 3.0, 3.2])).tolist() == [0, 1, 2]


def test_bins_by_lower_bounds():
    bounds = [0, 1, 3, 6, 16]
    assert bin_labels(bounds) == ["0", "1–2", "3–5", "6–15", "16+"]
    assert bin_labels([0]) == ["0+"]
    assert bin_of(np.array([0, 1, 2, 3, 5, 6, 15, 16, 10**6]), bounds).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_sums_by_hand():
    sums = RatingSums.of(np.array([4.0, 1.0, 3.0]), np.array([3.0, 1.2, np.nan]), HALF_STARS)
    assert (sums.n, sums.missing, sums.hits) == (2, 1, 1)
    assert sums.rmse == pytest.approx(math.sqrt(1.04 / 2))
    assert sums.mae == pytest.approx(0.6)
    assert sums.accuracy == 0.5


def test_no_rows_have_no_metrics():
    assert all(math.isnan(x) for x in (RatingSums().rmse, RatingSums().mae, RatingSums().accuracy))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200))
def test_bins_add_up_to_the_whole(seed, n):
    rng = np.random.default_rng(seed)
    actual = rng.choice(HALF_STARS, n)
    predicted = np.clip(actual + rng.normal(size=n), 0.5, 5).astype(np.float32)
    parts = sums_by_bin(actual, predicted, rng.integers(0, 30, n), HALF_STARS, [0, 1, 3, 6, 16])
    whole = total(parts)
    assert whole.n == n
    assert whole.rmse == pytest.approx(rmse(actual, predicted), rel=1e-12)
    assert whole.mae == pytest.approx(np.abs(actual - predicted).mean(), rel=1e-12)
    nearest = [HALF_STARS[np.abs(HALF_STARS - p)[::-1].argmin() * -1 - 1] for p in predicted.astype(np.float64)]
    assert whole.accuracy == pytest.approx(np.mean(np.array(nearest) == actual), rel=1e-12)
