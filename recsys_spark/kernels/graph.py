"""The graph term of a side: α Tr(VᵀLV) = α/2 Σ_ij S_ij ‖v_i - v_j‖², V = Q - XW what the features do not explain.

L = D - S couples rows. L ⪯ 2D bounds it at the current V by a sum over rows of ℓ_i ‖v_i - u_i‖², so that a step treats
rows as independent and J still falls (docs/model.md, Graph).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.rows import F32, F64, I64, Csr, Pull


def degrees(graph: Csr) -> F64:
    """d_i = Σ_j S_ij of each row, float64 (n,), added in the order of the entries."""
    owner = np.repeat(np.arange(graph.n_rows), np.diff(graph.indptr))
    return np.bincount(owner, graph.values.astype(np.float64), graph.n_rows).astype(np.float64, copy=False)


def pull_of(graph: Csr, own: F32, start: int, lam: F64, alpha: float) -> Pull:
    """ℓ and u of a block's rows.

    Parameters
    ----------
    graph : Csr of n rows
        S; columns number rows of ``own``.
    own : float32 ndarray of shape (N, k + 1)
        `prior.deviations` before the step, of the whole side or of all rows that S refers to, and the block's own.
    start : int
        Where in ``own`` the block's first row stands.
    lam : float64 ndarray of shape (n,)
        λ_i.
    alpha : float
        α > 0.
    """
    loose = 2.0 * alpha * degrees(graph)
    shift = np.zeros((graph.n_rows, own.shape[1] - 1))
    _shift(graph, own, start, lam, alpha, loose, shift)
    return Pull(loose, shift)


@njit(cache=True, nogil=True)
def _shift(graph: Csr, own: F32, start: int, lam: F64, alpha: float, loose: F64, shift: F64) -> None:
    for i in range(len(graph.indptr) - 1):
        if loose[i] == 0.0:
            continue
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            for c in range(shift.shape[1]):
                shift[i, c] += np.float64(graph.values[e]) * own[graph.cols[e], c]
        share = alpha / (lam[i] + loose[i])
        for c in range(shift.shape[1]):
            shift[i, c] = share * (0.5 * loose[i] / alpha * own[start + i, c] + shift[i, c])


def edge_energy(graph: Csr, own: F32, start: int, scale: float) -> int:
    """Σ_i ½ Σ_j S_ij ‖v_i - v_j‖² over a block's rows in units of 1/scale; arguments as `pull_of`."""
    return int(_edge_energy(graph, own, start, scale))


@njit(cache=True, nogil=True)
def _edge_energy(graph: Csr, own: F32, start: int, scale: float) -> int:
    total = np.int64(0)
    for i in range(len(graph.indptr) - 1):
        energy = 0.0
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            distance = 0.0
            for c in range(own.shape[1] - 1):
                difference = np.float64(own[start + i, c]) - own[graph.cols[e], c]
                distance += difference * difference
            energy += graph.values[e] * distance
        total += on_grid(0.5 * energy, scale)
    return total


@njit(cache=True, nogil=True)
def prior_energy(indptr: I64, loose: F64, lam: F64, means: F64, factors: F32, scale: float) -> int:
    """Σ λ_i ‖q_i - Wᵀx_i‖² in units of 1/scale over rows with ratings or an edge; ``means`` (n, k + 1) without u."""
    total = np.int64(0)
    for i in range(len(lam)):
        if indptr[i] == indptr[i + 1] and loose[i] == 0.0:
            continue
        energy = 0.0
        for c in range(factors.shape[1]):
            difference = factors[i, c] - means[i, c]
            energy += difference * difference
        total += on_grid(lam[i] * energy, scale)
    return total
