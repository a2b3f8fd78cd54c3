"""The half-sweep beside measured sgemm, one thread each, in this process: which share of the peak is useful work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_spark.kernels.rows import NO_F32, Csr, Other, Prior, Reg, empty_csr, pad
from recsys_spark.kernels.sweep import Bias, half_sweep

_MEAN_ROW = 150  # ratings of a row on average, as MovieLens' users have
_OTHERS = 80_000  # rows of the other side: at rank 32 their factors fill 10 MB, past the inner caches
_SGEMM = 2048
_TIMES = 5


@dataclass(frozen=True)
class KernelSpeed:
    """Useful speed of a half-sweep at one rank.

    Attributes
    ----------
    ratings : entries swept over
    seconds : the best of five sweeps, gather and solve included, compiling not
    gflops : m·k(k + 1) / seconds / 1e9: the multiplications and additions of the normal equations alone
    sgemm : GF/s of NumPy's float32 matrix product on one thread, the best of five, in turns with the sweeps
    """

    rank: int
    ratings: int
    seconds: float
    gflops: float
    sgemm: float

    @property
    def share(self) -> float:
        """Useful speed over that of sgemm."""
        return self.gflops / self.sgemm


def kernel_speeds(ranks: Sequence[int], ratings: int) -> list[KernelSpeed]:
    """Measure each rank on the same generated rows. Driver; seconds a rank, and the first time of each compiles."""
    rows, product = generated_rows(ratings), an_sgemm(_SGEMM)
    found = []
    for rank in ranks:
        seconds, beside = _best_in_turns(a_sweep(rows, rank), product)
        gflops = len(rows.cols) * rank * (rank + 1) / seconds / 1e9
        found.append(KernelSpeed(rank, len(rows.cols), seconds, gflops, 2.0 * _SGEMM**3 / beside / 1e9))
    return found


def a_sweep(rows: Csr, rank: int) -> Callable[[], object]:
    """A call that solves all rows once, factors and biases, against a random other side."""
    rng = np.random.default_rng(1)
    factors = rng.normal(0, 0.3, (_OTHERS, rank)).astype(np.float32)
    other = Other(pad(factors), rng.normal(0, 0.3, _OTHERS).astype(np.float32))
    prior = Prior(empty_csr(rows.n_rows), np.zeros((0, rank + 1)))
    reg = Reg(np.full(rows.n_rows, 10.0), 3.0)
    return lambda: half_sweep(rows, other, prior, reg, Bias(3.5, True, NO_F32), rank, 2.0**20)


def generated_rows(ratings: int) -> Csr:
    """About that many ratings: rows of log-normal length, columns of the other side as popular as in a power law."""
    rng = np.random.default_rng(0)
    n = max(1, ratings // _MEAN_ROW)
    lengths = rng.lognormal(0.0, 1.4, n)
    lengths = np.maximum(1, np.rint(lengths * (ratings / lengths.sum()))).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    cols = (rng.random(indptr[-1]) ** 3 * _OTHERS).astype(np.int32)
    cols = cols[np.lexsort((cols, np.repeat(np.arange(n), lengths)))]
    return Csr(indptr, cols, (rng.integers(1, 11, indptr[-1]) / 2).astype(np.float32), NO_F32)


def an_sgemm(size: int) -> Callable[[], object]:
    """A call that multiplies two square float32 matrices, on one thread where `threadpoolctl` says so."""
    rng = np.random.default_rng(2)
    a, b = (rng.random((size, size), np.float32) for _ in range(2))
    out = np.empty((size, size), np.float32)
    return lambda: np.matmul(a, b, out=out)


def _best_in_turns(*calls: Callable[[], object]) -> list[float]:
    """The least seconds of each; in turns, since a machine that is shared has faster and slower minutes."""
    best = [math.inf] * len(calls)
    with threadpool_limits(limits=1):
        for turn in range(_TIMES + 1):
            for n, call in enumerate(calls):
                began = time.perf_counter()
                call()
                if turn:  # in the first, kernels are compiled or loaded
                    best[n] = min(best[n], time.perf_counter() - began)
    return best
