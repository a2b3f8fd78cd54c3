"""Work space of one thread for a padded rank K: the rows of one vector on their way from ratings to factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys_spark.kernels.lanes import EXTRA
from recsys_spark.kernels.machine import LANES
from recsys_spark.kernels.rows import F32, F64, I64, aligned
from recsys_spark.kernels.tile import HALF, stride

BATCH = 64  # ratings gathered at a time
_ONE_A_ROW = ("coupling", "step", "going", "change", "largest", "objective", "apart")


class Scratch(NamedTuple):
    """S = K + 16 is the row length of matrices of one row, L = `machine.LANES` the number of rows solved at once."""

    buf: F32  # (64, S) gathered rows; columns K, K + 1: the coefficients of border and right-hand side
    scaled: F32  # (64, S) the same rows times g, where g is not 1
    a64: F64  # (K + 2, S) sums of a long row
    grams: F32  # (L, K + 2, S) Σ g p pᵀ of each row; its last two rows are Σ h p and Σ v p
    scalars: F64  # (3, L) Σ e, Σ h, Σ v: energy, the border's corner and right-hand side
    lam: F64  # (L,) λ of each row
    means: F64  # (K, L) m
    rhs: F64  # (K + 1, L) b + Λm
    theta: F64  # (K + 1, L) the solutions
    a: F32  # (K, K + 4, L) A + Λ; columns K, K + 1: rhs and border s
    u: F32  # (K, K + 4, L) its Cholesky factor U; columns K, K + 1: U⁻ᵀ of both
    t: F32  # (K, K + 4, L) U⁻ᵀ
    pivots: F32  # (K, L) 1 / U_cc
    x: F32  # (K, L) a right-hand side being solved
    border: F32  # (K, L) (A + Λ)⁻¹ s
    corner: F64  # (L,) what is left of the corner once factors are solved for
    residual: F64  # (K, L)
    step: F64  # (L,) of the bias
    going: F64  # (L,) 0: this row's θ stays as it is
    change: F64  # (L,) largest step of a row's θ
    largest: F64  # (L,) largest of θ
    objective: F64  # (L,) J of a row
    apart: F64  # (L,) λ ‖q - m‖²
    bad: F32  # (1, L) not 0: float32 cannot factorise this one
    profiles: F32  # (L, K + 2, S) M of the factors
    coupling: F64  # (L,) λ² / corner, 0 without a bias
    batch: I64  # (L,) the rows in the lanes
    left: F64  # ((K + 1) (K + 2) / 2 + 8,) a row's M, and what `tile.put` writes too much
    system: F64  # (K + 1, K + 1) the float64 way out
    inner: F64  # (K + 1, K + 1)
    outer: F64  # (K + 1, K + 1)
    diagonal: F64  # (K + 1,)
    work: F64  # (K + 1,)


def scratch_for(width: int) -> Scratch:
    """A new work space for padded rank ``width``."""
    n, s, triangle = width + 1, stride(width), (width, width + EXTRA, LANES)
    f32, f64 = np.float32, np.float64
    return Scratch(
        buf=aligned((BATCH, s), f32),
        scaled=aligned((BATCH, s), f32),
        a64=aligned((width + 2, s), f64),
        grams=aligned((LANES, width + 2, s), f32),
        scalars=aligned((3, LANES), f64),
        lam=aligned((LANES,), f64),
        means=aligned((width, LANES), f64),
        rhs=aligned((n, LANES), f64),
        theta=aligned((n, LANES), f64),
        a=aligned(triangle, f32),
        u=aligned(triangle, f32),
        t=aligned(triangle, f32),
        pivots=aligned((width, LANES), f32),
        x=aligned((width, LANES), f32),
        border=aligned((width, LANES), f32),
        corner=aligned((LANES,), f64),
        residual=aligned((width, LANES), f64),
        **{name: aligned((LANES,), f64) for name in _ONE_A_ROW},
        bad=aligned((1, LANES), f32),
        profiles=aligned((LANES, width + 2, s), f32),
        batch=np.zeros(LANES, np.int64),
        left=aligned((n * (n + 1) // 2 + HALF,), f64),
        system=np.zeros((n, n)),
        inner=np.zeros((n, n)),
        outer=np.zeros((n, n)),
        diagonal=np.zeros(n),
        work=np.zeros(n),
    )


def lanes_for(width: int) -> tuple[int, ...]:
    """A tuple whose length tells the compiler the padded rank."""
    return (0,) * width
