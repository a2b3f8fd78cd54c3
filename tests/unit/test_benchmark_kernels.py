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
    monkeypatch.setattr(kernels, "_best_in_turns", lambda *calls: [0.5, 4.0])
    (found,) = kernels.kernel_speeds([7], 3_000)
    assert found.gflops == pytest.approx(found.ratings * 7 * 8 / 0.5 / 1e9)
    assert found.sgemm == pytest.approx(2 * 2048**3 / 4.0 / 1e9)
    assert found.share == pytest.approx(found.gflops / found.sgemm)


def test_speeds_are_taken_in_turns_and_the_first_turn_is_left_out(monkeypatch):
    clock, calls = [0.0], []

    def taking(name, *seconds):
        def call():
            calls.append(name)
            clock[0] += seconds[min(calls.count(name), len(seconds)) - 1]

        return call

    monkeypatch.setattr(kernels.time, "perf_counter", lambda: clock[0])
    best = kernels._best_in_turns(taking("a", 0.5, 3, 2, 4), taking("b", 9, 7))
    assert best == [2, 7]
    assert calls[:4] == ["a", "b", "a", "b"]


def test_sgemm_runs_on_one_thread():
    from threadpoolctl import threadpool_info

    threads = []
    kernels._best_in_turns(
        kernels.an_sgemm(64), lambda: threads.extend(pool["num_threads"] for pool in threadpool_info())
    )
    assert set(threads) == {1}
