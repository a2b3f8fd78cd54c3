"""The projection for rows that are held fixed: where factors may not be negative, they cannot be profiled out.

With V⁰ = Q⁰ - XW⁰ and u of the graph, Newton's step on the bound on J (docs/model.md, Factors without negative
entries):
    (Σ_i ℓ_i x_i x_iᵀ + Λ_W) ΔW = Σ_i x_i ℓ_i (v⁰_i - u_i)ᵀ - Λ_W W,
and the same with λ_b, v⁰ of the bias and no u for the bias's column. Over rows with ratings or an edge.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from recsys_spark.kernels.exact import off_grid, on_grid
from recsys_spark.kernels.passes import NO_I64
from recsys_spark.kernels.prior import prior_means
from recsys_spark.kernels.projection import ProjectionSums, Scales, packed_places, solve_positive
from recsys_spark.kernels.rows import F32, F64, I64, Csr, Extra, Reg


def held_sums(
    rows: Csr, features: Csr, own: F32, reg: Reg, learned: bool, d: int, scales: Scales, extra: Extra
) -> ProjectionSums:
    """A block's part of both sides; ``normal`` is int64 (d (d + 1) / 2, 2), for ℓ and λ_b.

    Parameters
    ----------
    own : float32 ndarray of shape (n, k + 1)
        `prior.deviations` of the block's rows before the step.

    Others as in `projection.projection_sums`.
    """
    normal = np.zeros((d * (d + 1) // 2, 2), np.int64)
    return _sums(rows, features, _wanted(own, extra), reg, learned, d, scales, extra, normal, NO_I64)


def held_gradient(
    rows: Csr, features: Csr, own: F32, reg: Reg, learned: bool, d: int, scales: Scales, extra: Extra
) -> ProjectionSums:
    """The right-hand side; ``normal`` is the diagonal of the left, int64 (d, 2). Arguments as `held_sums`."""
    diagonal = np.zeros((d, 2), np.int64)
    return _sums(rows, features, _wanted(own, extra), reg, learned, d, scales, extra, NO_I64, diagonal)


def held_product(
    rows: Csr, features: Csr, direction: F64, reg: Reg, learned: bool, scales: Scales, extra: Extra
) -> ProjectionSums:
    """-Σ_i ℓ_i x_i (Dᵀx_i)ᵀ as the right-hand side, D = ``direction`` (d, k + 1); no left-hand side."""
    pulls = -prior_means(features, direction)
    return _sums(rows, features, pulls, reg, learned, len(direction), scales, extra, NO_I64, NO_I64)


def _wanted(own: F32, extra: Extra) -> F64:
    """Where the rows pull the means: v⁰ - u."""
    pulls = own.astype(np.float64)
    if extra.pull.loose.size:
        pulls[:, :-1] -= extra.pull.shift
    return pulls


def _sums(
    rows: Csr, features: Csr, pulls: F64, reg: Reg, learned: bool, d: int, scales: Scales, extra: Extra, normal: I64,
    diagonal: I64,
) -> ProjectionSums:  # fmt: skip
    rank, loose = pulls.shape[1] - 1, extra.pull.loose
    right = np.zeros((d, rank + 1 if learned else rank), np.int64)
    live = rows.occupied()
    lam = np.where(live | (loose > 0), reg.factor + loose, -1.0) if loose.size else np.where(live, reg.factor, -1.0)
    _held_sums(features, pulls, lam, reg.bias, rank, d, scales.normal, scales.right, normal, diagonal, right)
    return ProjectionSums(normal if normal.size else diagonal, right, -1)


@njit(cache=True, nogil=True)
def _held_sums(
    features: Csr, pulls: F64, lam: F64, lam_bias: float, rank: int, d: int, scale: float, scale_right: float,
    normal: I64, diagonal: I64, right: I64,
) -> None:  # fmt: skip
    for i in range(len(lam)):
        if lam[i] < 0.0:  # not a variable of J
            continue
        for p in range(features.indptr[i], features.indptr[i + 1]):
            fa = features.cols[p]
            xa = np.float64(features.values[p])
            for j in range(right.shape[1]):
                right[fa, j] += on_grid(xa * ((lam[i] if j < rank else lam_bias) * pulls[i, j]), scale_right)
            if diagonal.size:
                diagonal[fa, 0] += on_grid(xa * xa * lam[i], scale)
                diagonal[fa, 1] += on_grid(xa * xa * lam_bias, scale)
            if normal.size:
                for q in range(p, features.indptr[i + 1]):
                    fb = features.cols[q]
                    at = fa * d - fa * (fa - 1) // 2 + fb - fa
                    normal[at, 0] += on_grid(xa * features.values[q] * lam[i], scale)
                    normal[at, 1] += on_grid(xa * features.values[q] * lam_bias, scale)


def solve_held(normal: I64, right: I64, rank: int, scales: Scales, penalty: F64, projection: F64) -> F64:
    """The next W̃ (d, size) from the sums over all blocks; arguments as `projection.solve_projection`. Driver."""
    places = packed_places(len(right))
    step = off_grid(right, scales.right) - penalty * projection
    for kind, columns in ((0, slice(0, rank)), (1, slice(rank, None))):
        if not step[:, columns].size:
            continue
        system = off_grid(normal[:, kind], scales.normal)[places]
        system[np.diag_indices_from(system)] += penalty[:, columns][:, 0]  # one λ a feature, for all its factors
        with threadpool_limits(limits=1, user_api="blas"):
            step[:, columns] = solve_positive(system, step[:, columns])
    return projection + step
