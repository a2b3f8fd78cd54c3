"""Normal equations of one row: gather the other side's rows, accumulate A = Σ g p pᵀ and its border.

Compiled once per padded rank K, a constant to the compiler: the length of the tuple ``lanes`` and so part of its type.
(A closure over K would be as fast, but Numba does not find closures over compiled functions in its disk cache.) Up to
64 gathered rows at a time lie in a small buffer, each followed by its two coefficients, and only tiles that reach the
upper triangle are touched. At most 512 entries are accumulated in float32 before they are added in float64: at 100,000
ratings and condition 1e4, all-float32 accumulation loses two more digits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.machine import WIDE
from recsys_spark.kernels.rows import F32, Csr, Other, Unseen
from recsys_spark.kernels.scratch import BATCH, Scratch
from recsys_spark.kernels.tile import HALF, PIECE, add_product, gather_rows, widen

FLUSH = 512

# Numbers that the compiler knows: the lengths of tuples.
NONE: tuple[int, ...] = ()
ONE, TWO, FOUR, SIX, EIGHT, SIXTEEN = ((0,) * n for n in (1, 2, 4, 6, 8, 16))


@njit(cache=True, nogil=True, inline="always")
def gram(
    begin: int, end: int, rows: Csr, other: Other, offset: float, unseen: Unseen, lane: int, lanes: tuple[int, ...],
    s: Scratch,
) -> None:  # fmt: skip
    """Sums over the entries begin:end of one row, with y = r - offset - bias of the entry's column.

    Overwrites ``grams[lane]`` (tiles of the upper triangle; rows K, K + 1: Σ h p, Σ v p) and ``scalars[:, lane]``
    (Σ e, Σ h, Σ v): coefficients 1, 1, y and y², unless weights or unobserved cells (`rows.Unseen`) change them.
    """
    out = s.grams[lane]
    for j in range(3):
        s.scalars[j, lane] = 0.0
    long = end - begin > FLUSH
    if long:
        s.a64[:] = 0.0
    pending = 0
    low = begin
    while low < end:
        n = min(BATCH, end - low)
        if rows.weights.size or unseen.weight > 0.0:
            gather_rows(s.buf, other.factors, rows.cols, low, n, lanes)
            _coefficients_weighted(begin, low, n, rows, other, offset, unseen, lane, lanes, s)
            _accumulate(n, low == begin, s.scaled, out, rows, other, low, NONE, lanes, s)
        else:
            _coefficients(np.uint64(low), n, rows, other, offset, lane, lanes, s)
            _accumulate(n, low == begin, s.buf, out, rows, other, low, ONE, lanes, s)
        pending += n
        low += n
        if long and (pending >= FLUSH or low >= end):
            _flush(out, low >= end, lanes, s)
            pending = 0


@njit(cache=True, nogil=True, inline="always")
def _coefficients(
    low: int, n: int, rows: Csr, other: Other, offset: float, lane: int, lanes: tuple[int, ...], s: Scratch
) -> None:
    """Those of n entries whose weight is 1."""
    at = np.uint64(len(lanes))
    energy, pull = 0.0, 0.0
    for step in range(n):
        r = np.uint64(step)
        y = rows.values[low + r] - offset - other.biases[np.uint64(rows.cols[low + r])]
        energy += y * y
        pull += y
        s.buf[r, at] = np.float32(1.0)
        s.buf[r, at + np.uint64(1)] = np.float32(y)
    s.scalars[0, lane] += energy
    s.scalars[1, lane] += n
    s.scalars[2, lane] += pull


@njit(cache=True, nogil=True, inline="always")
def _coefficients_weighted(
    begin: int, low: int, n: int, rows: Csr, other: Other, offset: float, unseen: Unseen, lane: int,
    lanes: tuple[int, ...], s: Scratch,
) -> None:  # fmt: skip
    """Those of n entries with weights, or beside unobserved cells, whose sum over all cells takes in these too."""
    kk = len(lanes)
    for r in range(n):
        e = low + r
        bias = other.biases[rows.cols[e]]
        w = np.float64(rows.weights[e]) if rows.weights.size else 1.0
        y = rows.values[e] - offset - bias
        g, h, v, energy = w, w, w * y, w * y * y
        if unseen.weight > 0.0 and (unseen.each or e == begin or rows.cols[e] != rows.cols[e - 1]):
            g -= unseen.weight
            if unseen.whole:
                far = unseen.target - offset - bias
                h -= unseen.weight
                v -= unseen.weight * far
                energy -= unseen.weight * far * far
        s.scalars[0, lane] += energy
        s.scalars[1, lane] += h
        s.scalars[2, lane] += v
        for j in range(kk):
            s.scaled[r, j] = np.float32(g) * s.buf[r, j]
        s.scaled[r, kk] = np.float32(h)
        s.scaled[r, kk + 1] = np.float32(v)


@njit(cache=True, nogil=True, inline="always")
def accumulate_wide(
    n: int, fresh: bool, left: F32, out: F32, rows: Csr, other: Other, low: int, fetched: tuple[int, ...],
    lanes: tuple[int, ...], s: Scratch,
) -> None:  # fmt: skip
    """Add Σ left rightᵀ over n entries from ``low`` on, or set it where ``fresh``: upper tiles, and the border.

    A panel's first product takes the border with it, and gathers the panel where ``fetched`` has one element. Rows
    further on are asked for meanwhile, a cache line of each in one product. Tiles of 256 sums: for `machine.WIDE`.
    """
    kk = len(lanes)
    f, c = other.factors, rows.cols
    j = 0
    while j + 2 * PIECE <= kk:
        add_product(out, left, s.buf, n, fresh, 0, j, EIGHT, FOUR, TWO, fetched, ONE, f, c, low, j, lanes)
        for i in range(8, j + PIECE, 8):
            add_product(out, left, s.buf, n, fresh, i, j, EIGHT, FOUR, NONE, NONE, ONE, f, c, low, j + PIECE, lanes)
        at = j + PIECE
        add_product(out, left, s.buf, n, fresh, at, at, SIXTEEN, TWO, NONE, NONE, ONE, f, c, low, j, lanes)
        j += 2 * PIECE
    if j < kk:
        add_product(out, left, s.buf, n, fresh, 0, j, SIXTEEN, TWO, TWO, fetched, ONE, f, c, low, j, lanes)
        for i in range(PIECE, j + 1, PIECE):
            add_product(out, left, s.buf, n, fresh, i, j, SIXTEEN, TWO, NONE, NONE, ONE, f, c, low, j, lanes)


@njit(cache=True, nogil=True, inline="always")
def accumulate_narrow(
    n: int, fresh: bool, left: F32, out: F32, rows: Csr, other: Other, low: int, fetched: tuple[int, ...],
    lanes: tuple[int, ...], s: Scratch,
) -> None:  # fmt: skip
    """The same sums in tiles of at most 96; the lower half of a diagonal tile's left half is left as it is.

    Panels of sixteen columns: a first product with the border, as many of four rows as make the rest one of sixes,
    and eight rows of the right half.
    """
    f, c = other.factors, rows.cols
    for j in range(0, len(lanes), PIECE):
        add_product(out, left, s.buf, n, fresh, 0, j, FOUR, TWO, TWO, fetched, ONE, f, c, low, j, lanes)
        i, end = 4, j + HALF
        while (end - i) % 6:
            add_product(out, left, s.buf, n, fresh, i, j, FOUR, TWO, NONE, NONE, NONE, f, c, low, j, lanes)
            i += 4
        while i < end:
            add_product(out, left, s.buf, n, fresh, i, j, SIX, TWO, NONE, NONE, NONE, f, c, low, j, lanes)
            i += 6
        add_product(out, left, s.buf, n, fresh, end, end, EIGHT, ONE, NONE, NONE, NONE, f, c, low, j, lanes)


_accumulate = accumulate_wide if WIDE else accumulate_narrow


@njit(cache=True, nogil=True, inline="always")
def _flush(out: F32, last: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """Move the float32 sums into a64; after the last, round them to float32."""
    kk = len(lanes)
    for i in range(kk + 2):
        for j in range(i // PIECE * PIECE if i < kk else 0, kk, PIECE):
            widen(s.a64, out, i, j, lanes)
            if last:
                for t in range(j, j + PIECE):
                    out[i, t] = np.float32(s.a64[i, t])
