"""Rows on their way to executors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from recsys_spark.als.stages import Published


@pytest.mark.parametrize("rank", [0, 3, 16, 20])
def test_rows_begin_at_cache_lines_wherever_they_come_out_of_a_broadcast(rank: int) -> None:
    rng = np.random.default_rng(rank)
    factors, biases = rng.normal(size=(257, rank)).astype(np.float32), rng.normal(size=257).astype(np.float32)
    data = pickle.dumps(Published(factors, biases), 5)
    assert len(data) < factors.nbytes + biases.nbytes + 1000  # padding is not sent
    arrived = pickle.loads(data)
    assert np.array_equal(arrived.factors, factors)
    assert np.array_equal(arrived.other.biases, biases)
    assert arrived.other.factors.ctypes.data % 64 == 0
    assert arrived.other.factors.strides[0] % 64 == 0
    assert not arrived.other.factors[:, rank:].any()
