"""What features predict: the prior means of a side's rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F32, F64, Csr, Pull


def prior_means(features: Csr, projection: F64) -> F64:
    """m_i = W̃ᵀx_i for every row: float64 (n, k + 1), features added in the order of their columns."""
    out = np.zeros((features.n_rows, projection.shape[1]))
    if len(projection):
        _multiply(features, projection, out)
    return out


def pulled(means: F64, lam: F64, pull: Pull) -> tuple[F64, F64]:
    """(prior means (n, k + 1), precisions (n,)) of a step: those of the features, and what a graph makes of them."""
    if not pull.loose.size:
        return means, lam
    shifted = means.copy()
    shifted[:, :-1] += pull.shift
    return shifted, lam + pull.loose


def deviations(features: Csr, projection: F64, factors: F32, biases: F32) -> F32:
    """θ_i - W̃ᵀx_i of every row, what its features do not explain: float32 (n, k + 1), the bias last."""
    means = prior_means(features, projection)
    return (np.column_stack([factors, biases]) - means).astype(np.float32)


@njit(cache=True, nogil=True)
def _multiply(features: Csr, projection: F64, out: F64) -> None:
    for i in range(len(features.indptr) - 1):
        for e in range(features.indptr[i], features.indptr[i + 1]):
            x = features.values[e]
            f = features.cols[e]
            for j in range(projection.shape[1]):
                out[i, j] += x * projection[f, j]
