"""The kernels' own benchmark, small: it solves what it says, and counts what it says."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_spark.benchmark import kernels


def test_rows_are_sorted_and_as_many_as_asked_for():
    rows = kernels.generated_rows(60_000)
    assert len(rows.cols) == rows.indptr[-1] == pytest.approx(60_000, rel=0.02)
    assert rows.n_rows == 400
    owner = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
    assert (np.diff(owner * 100_000 + rows.cols) >= 0).all()
    counts = np.sort(np.bincount(rows.cols))[::-1]
    assert counts[: len(counts) // 10].sum() > 0.4 * counts.sum()


def test_a_sweep_solves_every_row():
    rows = kernels.generated_rows(3_000)
    factors, biases, sums = kernels.a_sweep(rows, 5)()
    assert factors.shape == (rows.n_rows, 5)
    assert biases.shape == (rows.n_rows,)
    assert sums.failed == -1
    assert np.abs(factors).max() > 0.01


def test_useful_speed_is_that_of_the_normal_equations(monkeypatch):
    monkeypatch.setattr(kernels, "_best", lambda call: 0.5)
    monkeypatch.setattr(kernels, "sgemm_gflops", lambda: 2.0)
    (found,) = kernels.kernel_speeds([7], 3_000)
    assert found.gflops == pytest.approx(found.ratings * 7 * 8 / 0.5 / 1e9)
    assert found.share == pytest.approx(found.gflops / 2)


def test_sgemm_runs_on_one_thread(monkeypatch):
    from threadpoolctl import threadpool_info

    threads = []
    real = kernels._best
    monkeypatch.setattr(
        kernels, "_best", lambda call: (threads.extend(p["num_threads"] for p in threadpool_info()), real(call))[1]
    )
    assert kernels.sgemm_gflops(64) > 0
    assert set(threads) == {1}
