"""Cells without a rating: a Gram of the other side answers for all of them at once (docs/model.md).

Nothing bounds factors before they are solved, so a Gram cannot be summed on one fixed grid of int64. It is summed on
two: each product is rounded to a coarse grid, and what that leaves to a fine one. Together they span some 90 bits, so
that the bound may be a million times too wide.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from recsys_spark.kernels.exact import off_grid, on_grid, scale_for
from recsys_spark.kernels.rows import F32, F64, I64, Csr, Other, Unseen
from recsys_spark.kernels.scratch import Scratch

NO_GRAM: I64 = np.zeros((2, 0), np.int64)
_FINE_BITS = 30  # of 2³¹ rows, each leaves at most half a unit of the coarse grid


class GramGrid(NamedTuple):
    """Spacings 1/coarse and 1/fine, powers of two, for vectors [p, 1, b] whose entries are at most ``largest``."""

    largest: float
    coarse: float
    fine: float

    @classmethod
    def within(cls, largest: float, rows: int) -> GramGrid:
        """The grid for at most that many rows."""
        coarse = scale_for(2.0 * rows * largest * largest)
        return cls(largest, coarse, math.ldexp(coarse, _FINE_BITS))


def gram_sums(rows: Csr, factors: F32, biases: F32, grid: GramGrid) -> I64:
    """Sums of [p, 1, b] [p, 1, b]ᵀ over the rows that have entries, as integers: see `gram_of`.

    int64 (2, (k + 2) (k + 3) / 2). Factors (n, k) and biases (n,) are of the rows themselves. Entries above
    ``grid.largest`` overflow: the caller checks their maximum.
    """
    size = factors.shape[1] + 2
    total = np.zeros((2, size * (size + 1) // 2), np.int64)
    _gram_sums(rows.indptr, factors, biases, grid.coarse, grid.fine, np.ones(size), total)
    return total


def gram_of(total: I64, grid: GramGrid, rank: int) -> F64:
    """The Gram (k + 2, k + 2) from the sums over all blocks."""
    out = np.zeros((rank + 2, rank + 2))
    out[np.triu_indices(rank + 2)] = off_grid(total[0], grid.coarse) + off_grid(total[1], grid.fine)
    return out + np.triu(out, 1).T


@njit(cache=True, nogil=True)
def _gram_sums(indptr: I64, factors: F32, biases: F32, coarse: float, fine: float, z: F64, total: I64) -> None:
    rank = factors.shape[1]
    inverse = 1.0 / coarse
    for i in range(len(indptr) - 1):
        if indptr[i] == indptr[i + 1]:
            continue
        for j in range(rank):
            z[j] = factors[i, j]
        z[rank + 1] = biases[i]
        at = 0
        for a in range(rank + 2):
            for b in range(a, rank + 2):
                product = z[a] * z[b]
                whole = np.rint(product * coarse)
                total[0, at] += np.int64(whole)
                total[1, at] += np.int64(np.rint((product - whole * inverse) * fine))
                at += 1


@njit(cache=True, nogil=True)
def add_unseen(lane: int, rank: int, width: int, offset: float, unseen: Unseen, s: Scratch) -> None:
    """Add every cell to what `gram.gram` left of a row's entries; ``width`` is the padded rank."""
    a, g = unseen.weight, unseen.gram
    for i in range(rank):
        for j in range(i, rank):
            s.grams[lane, i, j] = np.float32(s.grams[lane, i, j] + a * g[i, j])
    if unseen.whole:
        far = unseen.target - offset
        for j in range(rank):
            s.grams[lane, width, j] = np.float32(s.grams[lane, width, j] + a * g[j, rank])
            pull = a * (far * g[j, rank] - g[j, rank + 1])
            s.grams[lane, width + 1, j] = np.float32(s.grams[lane, width + 1, j] + pull)
        energy = far * far * g[rank, rank] - 2.0 * far * g[rank, rank + 1] + g[rank + 1, rank + 1]
        s.scalars[0, lane] += a * energy
        s.scalars[1, lane] += a * g[rank, rank]
        s.scalars[2, lane] += a * (far * g[rank, rank] - g[rank, rank + 1])


def rescore(
    rows: Csr, other: Other, factors: F32, biases: F32, mean: float, unseen: Unseen, scale: float
) -> tuple[int, int]:
    """(Σ w (r - r̂)², a Σ over cells without a rating), each in units of 1/scale, of solved rows (n, k) and (n,)."""
    total = np.zeros(2, np.int64)
    _rescore(rows, other, factors, biases, mean, unseen, scale, np.zeros(factors.shape[1] + 2), total)
    return int(total[0]), int(total[1])


@njit(cache=True, nogil=True)
def _rescore(
    rows: Csr, other: Other, factors: F32, biases: F32, mean: float, unseen: Unseen, scale: float, z: F64, total: I64
) -> None:
    rank = factors.shape[1]
    size = rank + 2 if unseen.whole else rank
    for i in range(len(rows.indptr) - 1):
        begin, end = rows.indptr[i], rows.indptr[i + 1]
        if begin == end:
            continue
        base = mean + biases[i]
        sse, seen = 0.0, 0.0
        for e in range(begin, end):
            c = rows.cols[e]
            dot = 0.0
            for j in range(rank):
                dot += np.float64(factors[i, j]) * other.factors[c, j]
            score = base + other.biases[c] + dot
            w = np.float64(rows.weights[e]) if rows.weights.size else 1.0
            sse += w * (rows.values[e] - score) * (rows.values[e] - score)
            if unseen.each or e == begin or c != rows.cols[e - 1]:
                miss = score - unseen.target if unseen.whole else dot
                seen += miss * miss
        for j in range(rank):
            z[j] = factors[i, j]
        z[rank], z[rank + 1] = base - unseen.target, 1.0
        cells = 0.0
        for a in range(size if unseen.weight > 0.0 else 0):
            line = 0.5 * unseen.gram[a, a] * z[a]
            for b in range(a + 1, size):
                line += unseen.gram[a, b] * z[b]
            cells += 2.0 * line * z[a]
        total[0] += on_grid(sse, scale)
        total[1] += on_grid(unseen.weight * (cells - seen), scale)
