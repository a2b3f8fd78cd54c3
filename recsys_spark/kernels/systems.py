"""Rows' normal equations kept from one pass for the next, so that a projection does not cost a second Gram.

Only rows of many ratings are kept: for the others the Gram is as cheap as reading it back.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.rows import F32, F64, Csr
from recsys_spark.kernels.scratch import Scratch
from recsys_spark.kernels.tile import put

KEPT = 64  # entries from which a row's sums are kept

NO_SYSTEMS: F32 = np.zeros((0, 0), np.float32)


def systems_shape(rows: Csr, width: int) -> tuple[int, int]:
    """(rows kept, numbers each) at padded rank ``width``: triangle of A, border, right-hand side, three scalars."""
    return int((np.diff(rows.indptr) >= KEPT).sum()), width * (width + 1) // 2 + 2 * width + 6


@njit(cache=True, nogil=True, inline="always")
def pack(out: F32, lane: int, lanes: tuple[int, ...], s: Scratch) -> None:
    """Keep what `gram` left: scalars bit by bit."""
    kk = len(lanes)
    at = 0
    for i in range(kk + 2):
        first = i if i < kk else 0
        put(out, at, s.grams[lane, i], first, kk - first)  # what is too much, the next row overwrites
        at += kk - first
    wide = out.view(np.float64)
    for j in range(3):
        wide[at // 2 + j] = s.scalars[j, lane]


@njit(cache=True, nogil=True, inline="always")
def unpack(kept: F32, lane: int, lanes: tuple[int, ...], s: Scratch) -> None:
    """Put it back; what is below the diagonal is not defined."""
    kk = len(lanes)
    at = 0
    for i in range(kk + 2):
        first = i if i < kk else 0
        put(s.grams[lane, i], first, kept, at, kk - first)  # what is too much goes beyond the rank
        at += kk - first
    wide = kept.view(np.float64)
    for j in range(3):
        s.scalars[j, lane] = wide[at // 2 + j]


@njit(cache=True, nogil=True, inline="always")
def right_hand_side(
    rated: bool, lane: int, i: int, means: F64, lam_bias: float, rank: int, learned: bool, width: int, s: Scratch
) -> None:
    """Rhs = b + Λ m of row i, or Λ m alone where not ``rated``."""
    for j in range(rank):
        s.means[j, lane] = means[i, j]
        s.rhs[j, lane] = s.lam[lane] * means[i, j] + (s.grams[lane, width + 1, j] if rated else 0.0)
    if learned:
        s.rhs[rank, lane] = lam_bias * means[i, rank] + (s.scalars[2, lane] if rated else 0.0)
