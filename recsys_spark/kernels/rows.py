"""The arrays that kernels take: one side's rows, the other side they refer to, and how the rows are regularised.

Symbols, used everywhere: n rows, m entries, k rank, K padded rank, d feature columns; θ = (factors, bias) of a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
BOOL = NDArray[np.bool_]
U64 = NDArray[np.uint64]

NO_F32: F32 = np.empty(0, np.float32)


def read_only(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Views that cannot be written: Numba compiles anew for what can be."""
    views = [array.view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


class Csr(NamedTuple):
    """Rows of a sparse matrix: entries ``indptr[i]:indptr[i + 1]`` belong to row i, sorted by column."""

    indptr: I64  # (n + 1,)
    cols: I32  # (m,)
    values: F32  # (m,)
    weights: F32  # (m,), or (0,) where every weight is 1

    @property
    def n_rows(self) -> int:
        """Number of rows, empty ones included."""
        return len(self.indptr) - 1

    def read_only(self) -> Csr:
        """The same arrays as views that cannot be written: what is compiled for blocks in files serves all others."""
        return Csr(*read_only(*self))

    def row_weights(self) -> F64:
        """Σw of each row, float64 of shape (n,), added in the order of the entries."""
        if not self.weights.size:
            return np.diff(self.indptr).astype(np.float64)
        owner = np.repeat(np.arange(self.n_rows), np.diff(self.indptr))
        return np.bincount(owner, self.weights.astype(np.float64), self.n_rows).astype(np.float64, copy=False)

    def occupied(self) -> BOOL:
        """Which rows have entries, bool (n,)."""
        return np.diff(self.indptr) > 0

    def repeated(self) -> BOOL:
        """Whether each entry but the last and the one after it are of one cell: bool (max(m - 1, 0),)."""
        again = self.cols[1:] == self.cols[:-1]
        firsts = self.indptr[1:-1]
        again[firsts[(firsts > 0) & (firsts < len(self.cols))] - 1] = False
        return again


class Other(NamedTuple):
    """The rows of the other side that a block refers to."""

    factors: F32  # (N, K), columns k.. are zero
    biases: F32  # (N,)


class Unseen(NamedTuple):
    """What cells without a rating cost (in rows that have any): a Σ (target - r̂)², or a Σ (p·q)² with a baseline."""

    weight: float  # a; 0 where they cost nothing
    whole: bool  # the target is a number, so that biases answer for these cells too
    target: float  # that number, on the rating scale
    each: bool  # a pair given twice is taken from the Gram twice, as pyspark.ml.ALS has it with implicitPrefs
    gram: F64  # (k + 2, k + 2) Σ [p, 1, b] [p, 1, b]ᵀ over the other side's rows that have ratings; (0, 0) without


class Pull(NamedTuple):
    """What a graph makes of the rows' precisions and prior means in one step (docs/model.md, Graph)."""

    loose: F64  # (n,) ℓ_i - λ_i = 2 α d_i; (0,) without a graph
    shift: F64  # (n, k) u_i


ALL_SEEN = Unseen(0.0, False, 0.0, False, np.zeros((0, 0)))
NO_PULL = Pull(np.zeros(0), np.zeros((0, 0)))


class Reg(NamedTuple):
    """Precisions Λ of a side's rows."""

    factor: F64  # (n,) λ(n_i) of each row
    bias: float  # λ_b, the same for every row


class Prior(NamedTuple):
    """What a row is pulled towards: features through a projection, or zero where there are no features."""

    features: Csr  # (n, d); an empty CSR where d = 0
    projection: F64  # (d, k + 1), the last column predicts the bias


class Extra(NamedTuple):
    """Terms of the model that are off by default."""

    unseen: Unseen = ALL_SEEN
    pull: Pull = NO_PULL
    nonnegative: bool = False  # factors, not biases


PLAIN = Extra()


def empty_csr(n_rows: int) -> Csr:
    """A CSR of ``n_rows`` rows without entries."""
    return Csr(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32), NO_F32, NO_F32)


def padded_rank(rank: int) -> int:
    """The width that kernels are compiled for: the next multiple of 16 (`tile.PIECE`); at least 16.

    Zero columns add exact zeros to every product, so the padding changes no result.
    """
    return max(16, -(-rank // 16) * 16)


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros that start at a cache line: vectors that straddle two lines cost twice."""
    count = int(np.prod(shape))
    size = np.dtype(dtype).itemsize
    raw: np.ndarray = np.zeros(count + 64 // size, dtype)
    start = -(raw.ctypes.data // size) % (64 // size)
    return raw[start : start + count].reshape(shape)


def pad(factors: F32) -> F32:
    """Factors (N, k) as a C-contiguous (N, K) with zero columns k.., whose rows begin at cache lines."""
    width = padded_rank(factors.shape[1])
    out = aligned((len(factors), width), np.float32)
    out[:, : factors.shape[1]] = factors
    return out
