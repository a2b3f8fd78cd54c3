"""A vector of rows' systems, solved: Cholesky in float32 on vectors, then refined against a float64 residual.

With A' = A + Λ of the factors, border s and corner d = Σh + λ_b, the bias is eliminated last (Schur complement):
    z = A'⁻¹ rhs,  t = A'⁻¹ s,  c = (rhs_b - s·z) / (d - s·t),  θ = (z - c t, c).
Iterative refinement then gives the accuracy of a float64 solve, as long as the system is one that float32 can
factorise. Where a pivot or the size of a correction says that it is not, the row is solved in float64
(`kernels.dense`), and only there can it turn out to be singular.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.dense import factorise, substitute
from recsys_spark.kernels.gram import NONE, ONE
from recsys_spark.kernels.lanes import BLOCK, EXTRA, SMALL, eliminate, factor_block, take_row, to_lanes
from recsys_spark.kernels.lanewise import begin_residual, copy_rows, correct, subtract_products, without_bias
from recsys_spark.kernels.machine import LANES
from recsys_spark.kernels.scratch import Scratch

# A correction larger than this share of θ means that float32 could not factorise the system.
REFINED = 1e-2


@njit(cache=True, nogil=True, inline="always")
def solve_rows(count: int, lam_bias: float, rank: int, learned: bool, lanes: tuple[int, ...], s: Scratch) -> int:
    """θ of the first ``count`` rows, whose sums are in grams and scalars, b + Λm in rhs, λ in lam.

    Returns the first lane whose system is singular or not finite, or -1. Leaves U, border and corner for
    `kernels.profile`, but for lanes marked bad.
    """
    _load(rank, learned, lanes, s)
    _factorise(lanes, s)
    _first(lam_bias, rank, learned, lanes, s)
    _refine(lam_bias, rank, learned, False, lanes, s)
    rough = False
    for lane in range(count):
        rough = rough or s.bad[0, lane] == 0.5
    if rough:
        _refine(lam_bias, rank, learned, True, lanes, s)
    for lane in range(count):
        if s.bad[0, lane] != 0.0:
            s.bad[0, lane] = 1.0
            if not solve_wide(lane, lam_bias, rank, learned, len(lanes), s):
                return lane
    return -1


@njit(cache=True, nogil=True, inline="always")
def _load(rank: int, learned: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """A + Λ with its right-hand sides, a lane for each row."""
    kk = len(lanes)
    width = kk + EXTRA
    for j in range(0, kk, LANES):
        for i in range(j + LANES):
            to_lanes(s.a, (i * width + j) * LANES, LANES, s.grams, i, j, lanes)
        if learned:
            to_lanes(s.a, (j * width + kk + 1) * LANES, width * LANES, s.grams, kk, j, lanes)
    for c in range(kk):
        for lane in range(LANES):
            if c < rank:
                s.a[c, c, lane] += np.float32(s.lam[lane])
                s.a[c, kk, lane] = np.float32(s.rhs[c, lane])
            else:
                s.a[c, c, lane] = np.float32(1.0)
                s.a[c, kk, lane] = np.float32(0.0)
            if not learned:
                s.a[c, kk + 1, lane] = np.float32(0.0)


@njit(cache=True, nogil=True, inline="always")
def _factorise(lanes: tuple[int, ...], s: Scratch) -> None:
    """U of A + Λ, and U⁻ᵀ of its right-hand sides."""
    kk = len(lanes)
    s.bad[:] = np.float32(0.0)
    for i in range(0, kk, BLOCK):
        factor_block(s.a, s.u, s.pivots, s.bad, i, i, ONE, lanes)
        for j in range(i + BLOCK, kk + EXTRA, BLOCK):
            factor_block(s.a, s.u, s.pivots, s.bad, i, j, NONE, lanes)


@njit(cache=True, nogil=True, inline="always")
def _first(lam_bias: float, rank: int, learned: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """θ in float32's accuracy."""
    kk = len(lanes)
    for c in range(kk):
        copy_rows(s.x[c], s.u[c, kk], 1)
        copy_rows(s.border[c], s.u[c, kk + 1], 1)
    for step in range(kk):
        c = kk - 1 - step
        eliminate(s.x, c, s.u, s.pivots, 0, c, ONE, lanes)
        if learned:
            eliminate(s.border, c, s.u, s.pivots, 0, c, ONE, lanes)
    if learned:
        for lane in range(LANES):
            s.corner[lane] = s.scalars[1, lane] + lam_bias
            s.step[lane] = s.rhs[rank, lane]
        subtract_products(s.corner, s.a, s.border, rank, lanes)
        subtract_products(s.step, s.a, s.x, rank, lanes)
        for lane in range(LANES):
            if not s.corner[lane] > SMALL * (s.scalars[1, lane] + lam_bias):
                s.bad[0, lane] = np.float32(1.0)
                s.corner[lane] = 1.0
            s.step[lane] /= s.corner[lane]
            s.theta[rank, lane] = s.step[lane]
    else:
        s.step[:] = 0.0
    without_bias(s.theta, s.x, s.border, s.step, rank)


@njit(cache=True, nogil=True, inline="always")
def _refine(lam_bias: float, rank: int, learned: bool, again: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """A step of iterative refinement; lanes whose step was large are marked 0.5, or 1 ``again``, when only they go."""
    kk = len(lanes)
    bias = s.theta[rank] if learned else s.step  # which is 0 then
    begin_residual(s.residual, s.rhs, s.a, bias, rank, lanes)
    if learned:
        for lane in range(LANES):
            s.step[lane] = s.rhs[rank, lane] - (s.scalars[1, lane] + lam_bias) * s.theta[rank, lane]
        subtract_products(s.step, s.a, s.theta, rank, lanes)
    for j in range(rank):
        take_row(s.residual, s.theta, s.a, j, rank, lanes)
    copy_rows(s.x, s.residual, kk)
    for c in range(kk):
        eliminate(s.x, c, s.u, s.pivots, c + 1, kk, NONE, lanes)
    for step in range(kk):
        eliminate(s.x, kk - 1 - step, s.u, s.pivots, 0, kk - 1 - step, ONE, lanes)
    for lane in range(LANES):
        s.going[lane] = 1.0 if not again or s.bad[0, lane] == 0.5 else 0.0
        s.change[lane], s.largest[lane] = 0.0, 0.0
    if learned:
        subtract_products(s.step, s.a, s.x, rank, lanes)
        for lane in range(LANES):
            s.step[lane] = s.step[lane] / s.corner[lane] if s.going[lane] != 0.0 else 0.0
            s.theta[rank, lane] += s.step[lane]
            s.change[lane], s.largest[lane] = abs(s.step[lane]), abs(s.theta[rank, lane])
    correct(s.theta, s.x, s.border, s.step, s.going, s.change, s.largest, rank)
    for lane in range(LANES):
        if s.going[lane] != 0.0:
            fine = s.change[lane] <= REFINED * s.largest[lane]
            if s.bad[0, lane] != 1.0:
                s.bad[0, lane] = np.float32(0.0 if fine else (1.0 if again else 0.5))


@njit(cache=True, nogil=True)
def solve_wide(lane: int, lam_bias: float, rank: int, learned: bool, width: int, s: Scratch) -> bool:
    """One lane's θ by a float64 Cholesky, left in ``system``; False where that is singular or not finite."""
    size = wide_system(lane, lam_bias, rank, learned, width, s)
    if not factorise(s.system, size, s.diagonal):
        return False
    for j in range(size):
        s.work[j] = s.rhs[j, lane]
    substitute(s.system, size, s.work, s.diagonal)
    for j in range(size):
        s.theta[j, lane] = s.diagonal[j]
    return True


@njit(cache=True, nogil=True)
def wide_system(lane: int, lam_bias: float, rank: int, learned: bool, width: int, s: Scratch) -> int:
    """Put a lane's A + Λ, its upper triangle, into ``system``; returns its size. ``width`` is the padded rank."""
    for a in range(rank):
        for b in range(a, rank):
            s.system[a, b] = s.grams[lane, a, b]
        s.system[a, a] += s.lam[lane]
        if learned:
            s.system[a, rank] = s.grams[lane, width, a]
    if learned:
        s.system[rank, rank] = s.scalars[1, lane] + lam_bias
        return rank + 1
    return rank
