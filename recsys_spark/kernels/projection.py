"""Feature projections, solved together with the factors rather than after them.

With θ_i profiled out, the objective is quadratic in the projection: writing m_i = W̃ᵀx_i (W̃ is W with the bias column
w appended), its normal equations are  Σ_i x_i x_iᵀ ⊗ M_i · W̃ + Λ_W W̃ = Σ_i x_i ⊗ g_i  with
M_i = Λ_i - Λ_i (A_i + Λ_i)⁻¹ Λ_i  and  g_i = Λ_i (A_i + Λ_i)⁻¹ b_i. Alternating W | Q instead barely moves where rows
are sparse: a row sits at its prior, and the prior then fits the row.

Both sums are exact (`kernels.exact`), because  M_i ⪯ Λ_i  and  |g_i|² ≤ λ_i Σ w y²  bound them beforehand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from recsys_spark.kernels.exact import off_grid, on_grid
from recsys_spark.kernels.gram import lanes_for, row_system, scratch_for
from recsys_spark.kernels.rows import F64, I64, Csr, Other, Reg, padded_rank
from recsys_spark.kernels.solve import profiled_precision, substitute


class ProjectionSums(NamedTuple):
    """Integer sums of one block, in units of 1/scale each."""

    normal: I64  # (d, d, s) for feature pairs a ≤ b, s = size (size + 1) / 2 entries of M's upper triangle, row by row
    right: I64  # (d, size)
    failed: int  # the first row whose system is singular, or -1


class Scales(NamedTuple):
    """Grids of the two sums."""

    normal: float
    right: float


def prior_means(features: Csr, projection: F64) -> F64:
    """m_i = W̃ᵀx_i for every row: float64 (n, k + 1), features added in the order of their columns."""
    out = np.zeros((features.n_rows, projection.shape[1]))
    if len(projection):
        _multiply(features, projection, out)
    return out


@njit(cache=True, nogil=True)
def _multiply(features: Csr, projection: F64, out: F64) -> None:
    for i in range(len(features.indptr) - 1):
        for e in range(features.indptr[i], features.indptr[i + 1]):
            x = features.values[e]
            f = features.cols[e]
            for j in range(projection.shape[1]):
                out[i, j] += x * projection[f, j]


def projection_sums(
    rows: Csr, features: Csr, n_features: int, other: Other, reg: Reg, mu: float, learned: bool, kept: np.ndarray,
    rank: int, scales: Scales,
) -> ProjectionSums:  # fmt: skip
    """The block's part of the normal equations of W̃ (see the module). Arguments as in `sweep.half_sweep`."""
    size = rank + 1 if learned else rank
    normal = np.zeros((n_features, n_features, size * (size + 1) // 2), np.int64)
    right = np.zeros((n_features, size), np.int64)
    width = padded_rank(rank)
    failed = _sums(
        rows, features, other, reg.factor, reg.bias, mu, learned, kept, rank, scales.normal, scales.right,
        lanes_for(width), scratch_for(width), normal, right,
    )  # fmt: skip
    return ProjectionSums(normal, right, int(failed))


@njit(cache=True, nogil=True)
def _sums(rows, features, other, lam, lam_bias, mu, learned, kept, rank, scale_n, scale_r, lanes, s, normal, right):  # type: ignore[no-untyped-def]
    size = rank + 1 if learned else rank
    work = np.empty((size, size), np.float64)
    left = np.empty((size, size), np.float64)
    g = np.empty(size, np.float64)
    for i in range(len(rows.indptr) - 1):
        if rows.indptr[i] == rows.indptr[i + 1] or features.indptr[i] == features.indptr[i + 1]:
            continue
        fixed = np.float64(kept[i]) if kept.size else 0.0
        if not row_system(i, rows, other, lam, lam_bias, mu + fixed, learned, rank, lanes, s):
            return i
        substitute(s.system, size, s.data, g)
        profiled_precision(s.system, size, s.precision, work, left)
        for p in range(features.indptr[i], features.indptr[i + 1]):
            fa = features.cols[p]
            xa = np.float64(features.values[p])
            for j in range(size):
                right[fa, j] += on_grid(xa * (s.precision[j] * g[j]), scale_r)
            for q in range(p, features.indptr[i + 1]):
                fb = features.cols[q]
                x = xa * features.values[q]
                at = 0
                for a in range(size):
                    for b in range(a, size):
                        normal[fa, fb, at] += on_grid(x * left[a, b], scale_n)
                        at += 1
    return -1


def solve_projection(normal: I64, right: I64, scales: Scales, penalty: F64) -> F64:
    """W̃ (d, size) from the sums over all blocks and the ridge ``penalty`` (d, size) > 0. Driver, float64, direct.

    One BLAS thread, so that the bits do not depend on the cores of whoever solves it.
    """
    d, size = right.shape
    upper = np.triu_indices(size)
    system = np.zeros((d, size, d, size))
    values = off_grid(normal, scales.normal)
    for a in range(d):
        for b in range(a, d):
            block = np.zeros((size, size))
            block[upper] = values[a, b]
            block = block + np.triu(block, 1).T
            system[a, :, b, :] = block
            system[b, :, a, :] = block
    flat = system.reshape(d * size, d * size)
    flat[np.diag_indices_from(flat)] += penalty.ravel()
    with threadpool_limits(limits=1, user_api="blas"):
        factor = cho_factor(flat, overwrite_a=True, check_finite=True)
        return cho_solve(factor, off_grid(right, scales.right).ravel()).reshape(d, size)
