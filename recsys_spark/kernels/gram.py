"""Normal equations of one row: gather the other side's rows, accumulate A = Σ w p pᵀ and its border.

Compiled once per padded rank K, a constant to the compiler. Eight gathered rows at a time lie in a small buffer;
only tiles that reach the upper triangle are touched. At most 512 entries are accumulated in float32 before they are
added in float64: at 100,000 ratings and condition 1e4, all-float32 accumulation loses two more digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F32, F64
from recsys_spark.kernels.solve import factorise

BATCH = 8
FLUSH = 512


@cache
def gram_for(width: int) -> Callable[..., None]:
    """The accumulator for padded rank ``width``.

    Returns ``gram(begin, end, cols, values, weights, factors, biases, offset, buf, a32, a64, s64, b64, scalars)``,
    which overwrites, for the entries begin:end of one row with y = r - offset - bias of the column's row:
    a64 (K, K) upper triangle of Σ w p pᵀ, s64 (K,) Σ w p, b64 (K,) Σ w y p, scalars (3,) Σ w y², Σ w, Σ w y.
    buf (8, K) and a32 (K + 2, K) float32 are scratch.
    """
    tile = 16 if width % 16 == 0 else 8
    kk = width

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def gram(begin, end, cols, values, weights, factors, biases, offset, buf, a32, a64, s64, b64, scalars):  # type: ignore[no-untyped-def]
        root = np.empty(BATCH, np.float32)
        target = np.empty(BATCH, np.float32)
        a64[:] = 0.0
        s64[:] = 0.0
        b64[:] = 0.0
        a32[:] = np.float32(0.0)
        yy = 0.0
        sw = 0.0
        sy = 0.0
        pending = 0
        for low in range(begin, end, BATCH):
            for r in range(BATCH):
                e = low + r
                if e < end:
                    c = cols[e]
                    w = np.float32(1.0)
                    q = np.float32(1.0)
                    if weights.size:
                        w = weights[e]
                        q = np.sqrt(w)
                    y = values[e] - offset - biases[c]
                    yy += w * y * y
                    sw += w
                    sy += w * y
                    root[r] = q
                    target[r] = q * np.float32(y)
                    for j in range(kk):
                        buf[r, j] = q * factors[c, j]
                else:
                    root[r] = np.float32(0.0)
                    target[r] = np.float32(0.0)
                    for j in range(kk):
                        buf[r, j] = np.float32(0.0)
            for t in range(0, kk, tile):
                for i in range(t + tile):
                    for j in range(t, t + tile):
                        a32[i, j] += (
                            (buf[0, i] * buf[0, j] + buf[1, i] * buf[1, j])
                            + (buf[2, i] * buf[2, j] + buf[3, i] * buf[3, j])
                        ) + (
                            (buf[4, i] * buf[4, j] + buf[5, i] * buf[5, j])
                            + (buf[6, i] * buf[6, j] + buf[7, i] * buf[7, j])
                        )
            for j in range(kk):
                s = np.float32(0.0)
                b = np.float32(0.0)
                for r in range(BATCH):
                    s += root[r] * buf[r, j]
                    b += target[r] * buf[r, j]
                a32[kk, j] += s
                a32[kk + 1, j] += b
            pending += BATCH
            if pending >= FLUSH or low + BATCH >= end:
                for i in range(kk):
                    for j in range(i, kk):
                        a64[i, j] += a32[i, j]
                for j in range(kk):
                    s64[j] += a32[kk, j]
                    b64[j] += a32[kk + 1, j]
                a32[:] = np.float32(0.0)
                pending = 0
        scalars[0] = yy
        scalars[1] = sw
        scalars[2] = sy

    return gram


class Scratch(NamedTuple):
    """One thread's work space for a padded rank K, and where `row_system` leaves its results."""

    buf: F32  # (8, K)
    a32: F32  # (K + 2, K)
    a64: F64  # (K, K)
    s64: F64  # (K,)
    b64: F64  # (K,)
    scalars: F64  # (3,) Σ w y², Σ w, Σ w y
    system: F64  # (K + 1, K + 1) upper triangle: A + Λ, then its Cholesky factor
    precision: F64  # (K + 1,) diagonal of Λ
    data: F64  # (K + 1,) b
    diagonal: F64  # (K + 1,)


def scratch_for(width: int) -> Scratch:
    """A new work space for padded rank ``width``."""
    n = width + 1
    return Scratch(
        np.empty((BATCH, width), np.float32),
        np.empty((width + 2, width), np.float32),
        *(np.empty(shape) for shape in ((width, width), width, width, 3, (n, n), n, n, n)),
    )


@cache
def row_system_for(width: int) -> Callable[..., bool]:
    """``row_system(i, rows, other, lam, lam_bias, offset, learned, rank, scratch)``: A + Λ of row i, factorised.

    The bias is a border of the Gram, its last row and column, so that the Gram stays k wide. Returns False where the
    system is singular.
    """
    gram = gram_for(width)

    @njit(cache=True, nogil=True)
    def row_system(i, rows, other, lam, lam_bias, offset, learned, rank, s):  # type: ignore[no-untyped-def]
        gram(
            rows.indptr[i], rows.indptr[i + 1], rows.cols, rows.values, rows.weights, other.factors, other.biases,
            offset, s.buf, s.a32, s.a64, s.s64, s.b64, s.scalars,
        )  # fmt: skip
        for a in range(rank):
            s.precision[a] = lam[i]
            s.data[a] = s.b64[a]
            for b in range(a, rank):
                s.system[a, b] = s.a64[a, b]
            s.system[a, a] += lam[i]
        size = rank
        if learned:
            size += 1
            s.precision[rank] = lam_bias
            s.data[rank] = s.scalars[2]
            for a in range(rank):
                s.system[a, rank] = s.s64[a]
            s.system[rank, rank] = s.scalars[1] + lam_bias
        return factorise(s.system, size, s.diagonal)

    return row_system
