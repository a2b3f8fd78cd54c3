"""What features predict: the prior means of a side's rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F64, Csr


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
