"""Eight numbers are put on the grid at once as one is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.outer import LARGEST, add_on_grid


@njit
def at_once(total: np.ndarray, left: np.ndarray, factor: float, scale: float) -> int:
    return add_on_grid(total, left, factor, scale)


def one_by_one(total: np.ndarray, left: np.ndarray, factor: float, scale: float) -> np.ndarray:
    return np.array([t + on_grid(factor * x, scale) for t, x in zip(total, left, strict=True)], np.int64)


NUMBERS = st.one_of(
    st.integers(-40, 40).map(lambda n: n / 2),  # ties
    st.floats(-1e5, 1e5),
    st.floats(-(2.0**61), 2.0**61),
    st.sampled_from(
        [x for edge in (LARGEST, LARGEST / 2) for x in (edge, -edge, np.nextafter(edge, 1e300), edge - 0.5)]
    ),
)


@given(st.lists(NUMBERS, max_size=27), st.sampled_from([1.0, -1.0, 0.75]), st.sampled_from([1.0, 0.5, 2.0**20]))
@settings(max_examples=300, deadline=None)
def test_bits_are_those_of_one_number_at_a_time(numbers: list[float], factor: float, scale: float) -> None:
    left = np.array(numbers) / scale
    total = np.arange(len(left), dtype=np.int64) - 7
    expected = one_by_one(total, left, factor, scale)
    done = at_once(total, left, factor, scale)
    assert done == len(left) // 8 * 8
    np.testing.assert_array_equal(total[:done], expected[:done])
    np.testing.assert_array_equal(total[done:], np.arange(done, len(left)) - 7)


def test_sums_that_are_not_on_the_grid_are_refused() -> None:
    with pytest.raises(TypeError, match="int64 array is wanted"):
        at_once(np.zeros(8), np.zeros(8), 1.0, 1.0)
