"""Feature projections, solved together with the factors rather than after them.

With θ_i profiled out, the objective is quadratic in the projection. Writing m_i = W̃ᵀx_i (W̃ is W with the bias column
w appended) and θ_i for the row's solution at that prior, Newton's step from any W̃ reaches the minimum:
    (Σ_i x_i x_iᵀ ⊗ M_i + Λ_W) ΔW̃ = Σ_i x_i ⊗ Λ_i (θ_i - m_i) - Λ_W W̃,   M_i = Λ_i - Λ_i (A_i + Λ_i)⁻¹ Λ_i.
The right-hand side vanishes at the minimum whatever the rounding of M_i. Alternating W | Q instead barely moves where
rows are sparse: a row sits at its prior, and the prior then fits the row.

Both sums are exact (`kernels.exact`), because  M_i ⪯ Λ_i  and  |Λ_i (θ_i - m_i)|² ≤ λ_i (Σ w y² + m_iᵀ Λ_i m_i)  bound
them beforehand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from recsys_spark.errors import FitError
from recsys_spark.kernels.exact import off_grid
from recsys_spark.kernels.nnls import nnls_scratch
from recsys_spark.kernels.passes import GRADIENT, NO_F32_2D, NO_I64, NO_SUMS, NORMAL, PRODUCT, row_pass
from recsys_spark.kernels.prior import prior_means, pulled
from recsys_spark.kernels.rows import (
    F32,
    F64,
    I64,
    NO_F32,
    PLAIN,
    Csr,
    Extra,
    Other,
    Prior,
    Reg,
    padded_rank,
)
from recsys_spark.kernels.scratch import lanes_for, scratch_for
from recsys_spark.kernels.systems import NO_SYSTEMS


class ProjectionSums(NamedTuple):
    """Integer sums of one block, in units of 1/scale each."""

    normal: I64  # (d (d + 1) / 2, size (size + 1) / 2): M's upper triangle for each pair of features a ≤ b, row by row;
    #              of `projection_gradient` (d, size), about its diagonal
    right: I64  # (d, size)
    failed: int  # the first row whose system is singular, or -1


class Scales(NamedTuple):
    """Grids of the two sums."""

    normal: float
    right: float


def projection_sums(
    rows: Csr, prior: Prior, other: Other, reg: Reg, mu: float, learned: bool, kept: np.ndarray,
    rank: int, scales: Scales, systems: F32 | None = None, extra: Extra = PLAIN,
) -> ProjectionSums:  # fmt: skip
    """The block's part of the normal equations of W̃ (see the module). Arguments as in `sweep.half_sweep`."""
    d, size = len(prior.projection), rank + 1 if learned else rank
    normal = np.zeros((d * (d + 1) // 2, size * (size + 1) // 2), np.int64)
    means, lam = pulled(prior_means(prior.features, prior.projection), reg.factor, extra.pull)
    return _sums(
        NORMAL, rows, prior, means, other, Reg(lam, reg.bias), mu, learned, kept, rank, scales, systems, extra, normal
    )


def projection_gradient(
    rows: Csr, prior: Prior, other: Other, reg: Reg, mu: float, learned: bool, kept: np.ndarray,
    rank: int, scales: Scales, systems: F32 | None = None, extra: Extra = PLAIN,
) -> ProjectionSums:  # fmt: skip
    """The right-hand side alone, and about the diagonal of the left; arguments as `projection_sums`."""
    diagonal = np.zeros((len(prior.projection), rank + 1 if learned else rank), np.int64)
    means, lam = pulled(prior_means(prior.features, prior.projection), reg.factor, extra.pull)
    return _sums(
        GRADIENT, rows, prior, means, other, Reg(lam, reg.bias), mu, learned, kept, rank, scales, systems, extra,
        diagonal,
    )  # fmt: skip


def projection_product(
    rows: Csr, features: Csr, direction: F64, other: Other, reg: Reg, mu: float, learned: bool, kept: np.ndarray,
    rank: int, scales: Scales, systems: F32 | None = None, extra: Extra = PLAIN,
) -> ProjectionSums:  # fmt: skip
    """-Σ_i x_i ⊗ M_i Dᵀx_i as the right-hand side, D = ``direction`` (d, k + 1); no left-hand side.

    M_i y = Λ_i (y - z) with z the row's solution at prior mean y and all targets zero.
    """
    means, loose = prior_means(features, direction), extra.pull.loose
    lam = reg.factor + loose if loose.size else reg.factor
    return _sums(
        PRODUCT, rows, Prior(features, direction), means, other, Reg(lam, reg.bias), mu, learned, kept, rank, scales,
        systems, extra, NO_I64,
    )  # fmt: skip


def _sums(
    kind: int, rows: Csr, prior: Prior, means: F64, other: Other, reg: Reg, mu: float, learned: bool,
    kept: np.ndarray, rank: int, scales: Scales, systems: F32 | None, extra: Extra, normal: I64,
) -> ProjectionSums:  # fmt: skip
    d = len(prior.projection)
    right = np.zeros((d, rank + 1 if learned else rank), np.int64)
    width = padded_rank(rank)
    failed, _ = row_pass(
        kind, rows.read_only(), prior.features.read_only(), means, d, other, reg.factor, reg.bias, mu, learned, kept,
        rank, extra.unseen, False, NO_SYSTEMS if systems is None else systems, scales.normal, scales.right,
        lanes_for(width), scratch_for(width), nnls_scratch(1), NO_F32_2D, NO_F32, NO_SUMS, normal, right,
    )  # fmt: skip
    return ProjectionSums(normal, right, int(failed))


def solve_projection(normal: I64, right: I64, scales: Scales, penalty: F64, projection: F64) -> F64:
    """The next W̃ (d, size) from the sums over all blocks at ``projection`` (d, size), and the ridge (d, size) > 0.

    Driver, float64, direct; one BLAS thread, so that the bits do not depend on the cores of whoever solves it.
    """
    d, size = right.shape
    pair, entry = packed_places(d), packed_places(size)
    system = off_grid(normal, scales.normal)[pair[:, None, :, None], entry[None, :, None, :]]
    flat = system.reshape(d * size, d * size)
    flat[np.diag_indices_from(flat)] += penalty.ravel()
    with threadpool_limits(limits=1, user_api="blas"):
        step = solve_positive(flat, (off_grid(right, scales.right) - penalty * projection).ravel())
    return projection + step.reshape(d, size)


def solve_positive(system: F64, right: F64) -> F64:
    """The solution of a positive definite system, which is overwritten; FitError where it is not one."""
    try:
        return cho_solve(cho_factor(system, overwrite_a=True), right)
    except (LinAlgError, ValueError) as problem:
        raise FitError(
            f"the projection of features cannot be solved for ({problem}): raise reg_features and reg_feature_bias, or "
            "scale features whose values differ by many orders of magnitude"
        ) from problem


def packed_places(width: int) -> I64:
    """Where (i, j) of a symmetric matrix is among the entries of its upper triangle."""
    places = np.zeros((width, width), np.int64)
    places[np.triu_indices(width)] = np.arange(width * (width + 1) // 2)
    return places + np.triu(places, 1).T
