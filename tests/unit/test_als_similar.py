"""Similar rows against plain NumPy over all pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model_factory import random_side
from recsys_spark.als.similar import Neighbours
from recsys_spark.errors import ConfigError, DataError


def naive(factors: np.ndarray, row: int, metric: str) -> np.ndarray:
    x = factors.astype(np.float64)
    if metric == "euclidean":
        return np.sqrt(((x - x[row]) ** 2).sum(1))
    if metric == "pearson":
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(np.array([np.corrcoef(x[row], other)[0, 1] for other in x]))
    norms = np.sqrt((x * x).sum(1))
    return np.divide(x @ x[row], norms * norms[row], out=np.zeros(len(x)), where=norms * norms[row] > 0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "pearson"])
@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_are_those_of_all_pairs(metric: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    side = random_side(rng, pa.array(np.arange(60)), 4)
    side.factors[5] = 0.0
    side.factors[9] = side.factors[8]  # the same place twice: distance 0, ties to the lower row
    rows = np.array([8, 5, 30, 31])
    found, values = Neighbours(side, metric).of(rows, 7)
    for row, near, value in zip(rows, found, values, strict=True):
        expected = naive(side.factors, row, metric)
        np.testing.assert_allclose(value, expected[near], atol=2e-6)
        expected[row] = np.inf if metric == "euclidean" else -np.inf
        best = np.sort(expected if metric == "euclidean" else -expected)[:7]
        np.testing.assert_allclose(value if metric == "euclidean" else -value, best, atol=2e-6)
        assert row not in near
        assert len(set(near)) == 7
    assert found[0, 0] == 9
    assert values[0, 0] == pytest.approx(0.0 if metric == "euclidean" else 1.0, abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_places_that_cannot_be_filled(metric: str) -> None:
    side = random_side(np.random.default_rng(0), pa.array([1, 2, 3]), 2)
    found, values = Neighbours(side, metric).of(np.array([0, 1]), 4)
    assert [sorted(row) for row in found.tolist()] == [[-1, -1, 1, 2], [-1, -1, 0, 2]]
    assert np.isnan(values[:, 2:]).all()
    assert not np.isnan(values[:, :2]).any()


def test_what_cannot_be_compared() -> None:
    side = random_side(np.random.default_rng(0), pa.array([1, 2, 3]), 2)
    with pytest.raises(ConfigError, match="no metric 'manhattan': cosine, euclidean, pearson"):
        Neighbours(side, "manhattan")
    with pytest.raises(DataError, match="a model of rank 0 has biases alone"):
        Neighbours(random_side(np.random.default_rng(0), pa.array([1, 2, 3]), 0), "cosine")
