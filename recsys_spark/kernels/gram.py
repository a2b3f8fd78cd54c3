"""Normal equations of one row: gather the other side's rows, accumulate A = Σ w p pᵀ and its border, factorise.

Compiled once per padded rank K, a constant to the compiler: the length of the tuple ``lanes`` and so part of its type.
(A closure over K would be as fast, but Numba does not find closures over compiled functions in its disk cache.) Eight
gathered rows at a time lie in a small buffer; only tiles that reach the upper triangle are touched. At most 512 entries
are accumulated in float32 before they are added in float64: at 100,000 ratings and condition 1e4, all-float32
accumulation loses two more digits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F32, F64, Csr, Other
from recsys_spark.kernels.solve import factorise
from recsys_spark.kernels.tile import LANES, ROWS, add_border, add_tile, copy_scaled, prefetch

BATCH = 8
EIGHT = (0,) * BATCH  # as a length that the compiler knows
FLUSH = 512


class Scratch(NamedTuple):
    """One thread's work space for a padded rank K, and where `gram` and `row_system` leave their results."""

    buf: F32  # (8, K) gathered rows, times √w
    root: F32  # (8,) √w
    target: F32  # (8,) √w y
    a32: F32  # (K + 2, K) float32 sums since the last flush; the last two rows are the border
    a64: F64  # (K, K) upper triangle of Σ w p pᵀ
    s64: F64  # (K,) Σ w p
    b64: F64  # (K,) Σ w y p
    scalars: F64  # (3,) Σ w y², Σ w, Σ w y
    system: F64  # (K + 1, K + 1) upper triangle: A + Λ, then its Cholesky factor
    precision: F64  # (K + 1,) diagonal of Λ
    data: F64  # (K + 1,) b
    diagonal: F64  # (K + 1,)


def scratch_for(width: int) -> Scratch:
    """A new work space for padded rank ``width``."""
    n = width + 1
    return Scratch(
        buf=np.empty((BATCH, width), np.float32),
        root=np.empty(BATCH, np.float32),
        target=np.empty(BATCH, np.float32),
        a32=np.empty((width + 2, width), np.float32),
        a64=np.empty((width, width)),
        s64=np.empty(width),
        b64=np.empty(width),
        scalars=np.empty(3),
        system=np.empty((n, n)),
        precision=np.empty(n),
        data=np.empty(n),
        diagonal=np.empty(n),
    )


def lanes_for(width: int) -> tuple[int, ...]:
    """A tuple whose length tells the compiler the padded rank."""
    return (0,) * width


@njit(cache=True, nogil=True, fastmath={"contract"})
def gram(begin: int, end: int, rows: Csr, other: Other, offset: float, lanes: tuple[int, ...], s: Scratch) -> None:
    """Sums over the entries begin:end of one row, with y = r - offset - bias of the entry's column.

    Overwrites a64, s64, b64 and scalars of the scratch.
    """
    kk = len(lanes)
    a32 = s.a32
    s.a64[:] = 0.0
    s.s64[:] = 0.0
    s.b64[:] = 0.0
    s.scalars[:] = 0.0
    a32[:] = np.float32(0.0)
    pending = 0
    for low in range(begin, end, BATCH):
        for e in range(low + BATCH, min(low + 2 * BATCH, end)):
            prefetch(other.factors, rows.cols[e], lanes)
        _gather(low, end, rows, other, offset, lanes, s)
        for i in range(0, kk, ROWS):
            for j in range(i // LANES * LANES, kk, LANES):
                add_tile(a32, s.buf, EIGHT, i, j, lanes)
        for j in range(0, kk, LANES):
            add_border(a32, kk, s.root, s.buf, EIGHT, j, lanes)
            add_border(a32, kk + 1, s.target, s.buf, EIGHT, j, lanes)
        pending += BATCH
        if pending >= FLUSH or low + BATCH >= end:
            for i in range(kk):
                for j in range(i, kk):
                    s.a64[i, j] += a32[i, j]
            for j in range(kk):
                s.s64[j] += a32[kk, j]
                s.b64[j] += a32[kk + 1, j]
            a32[:] = np.float32(0.0)
            pending = 0


@njit(cache=True, nogil=True)
def _gather(low: int, end: int, rows: Csr, other: Other, offset: float, lanes: tuple[int, ...], s: Scratch) -> None:
    """The next eight entries' rows, times √w; beyond the end, zeros."""
    for r in range(BATCH):
        e = low + r
        if e >= end:
            s.root[r] = np.float32(0.0)
            s.target[r] = np.float32(0.0)
            s.buf[r] = np.float32(0.0)
            continue
        c = rows.cols[e]
        w = rows.weights[e] if rows.weights.size else np.float32(1.0)
        q = np.sqrt(w)
        y = rows.values[e] - offset - other.biases[c]
        s.scalars[0] += w * y * y
        s.scalars[1] += w
        s.scalars[2] += w * y
        s.root[r] = q
        s.target[r] = q * np.float32(y)
        copy_scaled(s.buf, r, s.root, other.factors, c, lanes)


@njit(cache=True, nogil=True)
def row_system(
    i: int,
    rows: Csr,
    other: Other,
    lam: F64,
    lam_bias: float,
    offset: float,
    learned: bool,
    rank: int,
    lanes: tuple[int, ...],
    s: Scratch,
) -> bool:
    """A + Λ of row i, factorised, in the scratch; False where it is singular.

    The bias is a border of the Gram, its last row and column, so that the Gram stays k wide.
    """
    gram(rows.indptr[i], rows.indptr[i + 1], rows, other, offset, lanes, s)
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
