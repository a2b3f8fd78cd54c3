"""Small dense solves in float64: rows that float32 cannot factorise, and the precision left once θ is profiled out."""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F64

# A pivot this small against its diagonal is noise: the Gram was accumulated in float32.
SINGULAR = 1e-7


@njit(cache=True, nogil=True)
def cholesky(matrix: F64, size: int) -> bool:
    """UᵀU of the leading (size, size), from and into the upper triangle; False where it is singular or not finite."""
    for c in range(size):
        pivot = matrix[c, c]
        if not pivot > 0.0 or pivot == np.inf:
            return False
        inverse = 1.0 / np.sqrt(pivot)
        for j in range(c, size):
            matrix[c, j] *= inverse
        for i in range(c + 1, size):
            f = matrix[c, i]
            for j in range(i, size):
                matrix[i, j] -= f * matrix[c, j]
    return True


@njit(cache=True, nogil=True)
def factorise(matrix: F64, size: int, diagonal: F64) -> bool:
    """`cholesky` that also refuses pivots lost to rounding; ``diagonal`` (size,) is scratch."""
    for c in range(size):
        diagonal[c] = matrix[c, c]
    if not cholesky(matrix, size):
        return False
    for c in range(size):  # noqa: SIM110 - Numba has no generators here
        if matrix[c, c] * matrix[c, c] <= SINGULAR * diagonal[c]:
            return False
    return True


@njit(cache=True, nogil=True)
def substitute(upper: F64, size: int, rhs: F64, out: F64) -> None:
    """Put (UᵀU)⁻¹ rhs into ``out`` for the leading ``size``; ``rhs`` is overwritten."""
    for c in range(size):
        z = rhs[c] / upper[c, c]
        rhs[c] = z
        for j in range(c + 1, size):
            rhs[j] -= upper[c, j] * z
    for step in range(size):
        c = size - 1 - step
        total = rhs[c]
        for j in range(c + 1, size):
            total -= upper[c, j] * out[j]
        out[c] = total / upper[c, c]


@njit(cache=True, nogil=True)
def profiled_precision(upper: F64, size: int, lam: float, lam_bias: float, rank: int, work: F64, out: F64) -> None:
    """Upper triangle of M = Λ - Λ (A + Λ)⁻¹ Λ from U of A + Λ (`kernels.profile`).

    Λ is λ for the first ``rank`` entries, λ_b for one more; ``work`` and ``out`` are (≥ size, ≥ size).
    """
    for r in range(size):
        for c in range(r):
            work[r, c] = 0.0
        work[r, r] = lam if r < rank else lam_bias
        for c in range(r):
            f = upper[c, r]
            for j in range(c + 1):
                work[r, j] -= f * work[c, j]
        inverse = 1.0 / upper[r, r]
        for j in range(r + 1):
            work[r, j] *= inverse
    for a in range(size):
        for b in range(a, size):
            out[a, b] = 0.0
        out[a, a] = lam if a < rank else lam_bias
    for r in range(size):
        for a in range(r + 1):
            f = work[r, a]
            for b in range(a, r + 1):
                out[a, b] -= f * work[r, b]
