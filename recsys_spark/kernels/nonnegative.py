"""Rows whose factors may not be negative: in float64, with `kernels.nnls` where a bound binds."""

from __future__ import annotations

from numba import njit

from recsys_spark.kernels.dense import factorise, substitute
from recsys_spark.kernels.nnls import NnlsScratch, nonnegative_solve
from recsys_spark.kernels.scratch import Scratch
from recsys_spark.kernels.solve import wide_system


@njit(cache=True, nogil=True)
def solve_nonnegative(
    count: int, lam_bias: float, rank: int, learned: bool, width: int, s: Scratch, bounded: NnlsScratch
) -> int:
    """θ of the first ``count`` lanes, factors ≥ 0, the bias free; arguments and result as `solve.solve_rows`.

    A singular system is refused even where the bound would leave one solution: without a bound it has none.
    """
    for lane in range(count):
        size = wide_system(lane, lam_bias, rank, learned, width, s)
        for a in range(size):
            s.work[a] = s.rhs[a, lane]
            for b in range(a, size):
                s.inner[a, b] = s.system[a, b]
        if not factorise(s.inner, size, s.diagonal):
            return lane
        substitute(s.inner, size, s.work, s.diagonal)
        inside = True
        for j in range(rank):
            inside = inside and s.diagonal[j] >= 0.0
        if not inside:
            for j in range(size):
                s.work[j] = s.rhs[j, lane]
            if not nonnegative_solve(s.system, size, rank, s.work, s.diagonal, bounded):
                return lane
        for j in range(size):
            s.theta[j, lane] = s.diagonal[j]
    return -1
