"""The half-sweep: every row of one side solved jointly for its factors and bias, the other side held fixed.

Row i minimises  Σ_j w_ij (r_ij - μ - b_j - θ·[p_j, 1])² + (θ - m_i)ᵀ Λ_i (θ - m_i)  with  θ = (q_i, c_i),
m_i = (Wᵀx_i, wᵀx_i):  θ = (A + Λ)⁻¹ (b + Λ m). Its value there is  Σ w y² + mᵀΛm - θᵀ(b + Λm), and the squared
error is that minus the regularisation, so the objective costs nothing beyond the solve.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.graph import prior_energy
from recsys_spark.kernels.nnls import nnls_scratch
from recsys_spark.kernels.passes import NO_I64, SWEEP, row_pass
from recsys_spark.kernels.prior import prior_means, pulled
from recsys_spark.kernels.rows import F32, F64, I64, PLAIN, Csr, Extra, Other, Prior, Reg, padded_rank
from recsys_spark.kernels.scratch import lanes_for, scratch_for
from recsys_spark.kernels.systems import NO_SYSTEMS
from recsys_spark.kernels.unseen import rescore


class Bias(NamedTuple):
    """What the biases of the rows being solved do: solved for with the factors, or kept as they are."""

    mean: float  # μ
    learned: bool
    kept: F32  # (n,) the biases held fixed where not learned, else (0,)


class SweepSums(NamedTuple):
    """Sums over a block's rows in units of 1/scale (see `kernels.exact`), and what the next bounds need."""

    sse: int  # Σ w (r - r̂)²
    reg_factor: int  # Σ λ_i ‖q_i - Wᵀx_i‖²
    reg_bias: int  # λ_b Σ (c_i - wᵀx_i)²
    max_bias: float  # max |c_i|
    failed: int  # the first row whose system is singular or not finite, or -1
    unobserved: int = 0  # a Σ over cells without a rating


def half_sweep(
    rows: Csr, other: Other, prior: Prior, reg: Reg, bias: Bias, rank: int, scale: float, systems: F32 | None = None,
    extra: Extra = PLAIN,
) -> tuple[F32, F32, SweepSums]:  # fmt: skip
    """Solve every row. Executor (or anywhere: arrays in, arrays out).

    Parameters
    ----------
    rows : Csr of n rows
        Ratings r_ij of this side's rows, columns index ``other``.
    other : Other
        Factors (N, K) padded, biases (N,).
    prior : Prior
        Features of the rows and the projection (d, k + 1).
    reg : Reg
        λ_i (n,) and λ_b.
    bias : Bias
        Whether the bias is part of θ.
    rank : int
        k.
    scale : float
        Grid of the sums.
    systems : float32 ndarray, optional
        Sums of rows of many ratings that a pass for the projection left (`kernels.systems`).
    extra : Extra
        Unobserved cells, graph, bounds.

    Returns
    -------
    factors : float32 ndarray of shape (n, k)
    biases : float32 ndarray of shape (n,)
    sums : SweepSums

    Notes
    -----
    A row without entries equals its prior and takes no part in the sums. A failed row stops nothing here: the caller
    raises with the row's id.
    """
    own = prior_means(prior.features, prior.projection)
    means, lam = pulled(own, reg.factor, extra.pull)
    factors = np.empty((rows.n_rows, rank), np.float32)
    biases = np.empty(rows.n_rows, np.float32)
    sums = np.zeros(3, np.int64)
    width = padded_rank(rank)
    failed, max_bias = row_pass(
        SWEEP, rows.read_only(), prior.features.read_only(), means, 0, other, lam, reg.bias, bias.mean, bias.learned,
        bias.kept, rank, extra.unseen, extra.nonnegative, NO_SYSTEMS if systems is None else systems, scale, 1.0,
        lanes_for(width), scratch_for(width), nnls_scratch(rank + 1), factors, biases, sums, NO_I64, NO_I64,
    )  # fmt: skip
    sse, reg_factor, reg_bias, unobserved = *(int(s) for s in sums), 0
    if failed < 0 and extra.unseen.weight > 0.0:
        sse, unobserved = rescore(rows, other, factors, biases, bias.mean, extra.unseen, scale)
    if failed < 0 and extra.pull.loose.size:
        reg_factor = int(prior_energy(rows.indptr, extra.pull.loose, reg.factor, own, factors, scale))
    return factors, biases, SweepSums(sse, reg_factor, reg_bias, float(max_bias), int(failed), unobserved)


def row_precisions(counts: F64, reg: float, mode: str, per_rating: float = 0.0) -> F64:
    """λ(n) of each row, float64 (n,), n its Σw: ``constant`` λ, ``weighted`` λ·n, ``inverse_sqrt`` λ/√(n + 1).

    `per_rating` · n comes on top in every mode.
    """
    if mode == "constant":
        return reg + per_rating * counts
    if mode == "weighted":
        return (reg + per_rating) * counts
    if mode == "inverse_sqrt":
        return reg / np.sqrt(counts + 1.0) + per_rating * counts
    raise ValueError(f"no λ mode {mode!r}: constant, weighted or inverse_sqrt")


def sum_by_row(rows: Csr, scale: float) -> tuple[int, int]:
    """(Σ w r, Σ w) over all rows in units of 1/scale: the sums of μ, each row rounded once."""
    total = np.zeros(2, np.int64)
    _sum_by_row(rows.read_only(), scale, total)
    return int(total[0]), int(total[1])


@njit(cache=True, nogil=True)
def _sum_by_row(rows: Csr, scale: float, total: I64) -> None:
    for i in range(len(rows.indptr) - 1):
        wr = 0.0
        w_sum = 0.0
        for e in range(rows.indptr[i], rows.indptr[i + 1]):
            w = np.float64(rows.weights[e]) if rows.weights.size else 1.0
            wr += w * rows.values[e]
            w_sum += w
        total[0] += on_grid(wr, scale)
        total[1] += on_grid(w_sum, scale)
