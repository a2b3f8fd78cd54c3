"""Grouping entries by row, and ordering rows by column, in linear time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys_spark.kernels.coding import dense_places
from recsys_spark.kernels.rows import F32, I32, I64, read_only


@njit(cache=True, nogil=True)
def counting_order(keys: I32, n: int) -> tuple[I32, I64]:
    """The stable order of ``keys``, and where each key's entries start in it.

    Parameters
    ----------
    keys : int32 (m,), 0 ≤ key < n, m < 2³¹

    Returns
    -------
    order : int32 (m,), ``keys[order]`` is sorted
    starts : int64 (n + 1,), entries of key i are ``order[starts[i]:starts[i + 1]]``

    Raises
    ------
    ValueError
        A key is negative, or n or greater.
    """
    starts = np.zeros(n + 1, np.int64)
    for e in range(len(keys)):
        k = keys[e]
        if k < 0 or k >= n:
            raise ValueError("a key is negative or too large for the counting sort that it was given to")
        starts[k + 1] += 1
    for k in range(n):
        starts[k + 1] += starts[k]
    place = starts[:-1].astype(np.int32)
    order = np.empty(len(keys), np.int32)
    for e in range(len(keys)):
        k = keys[e]
        order[place[k]] = e
        place[k] += 1
    return order, starts


def numbered(values: I32) -> tuple[I32, I32]:
    """Sorted unique values, and each value's place among them (m,); linear where they are dense.

    >>> [array.tolist() for array in numbered(np.array([30, 10, 30], np.int32))]
    [[10, 30], [1, 0, 1]]
    """
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low >= 2 * len(values) + 1024:
        unique, place = np.unique(values, return_inverse=True)
        return unique, place.astype(np.int32)
    unique, place = dense_places(*read_only(values), low, high - low + 1)
    return unique.astype(values.dtype), place


@njit(cache=True, nogil=True)
def place_runs(place: I64, rows: I32, lengths: I64, source: tuple[I32, F32, F32], target: tuple[I32, F32, F32]) -> None:
    """Copy runs of entries to where their rows have room, and move ``place`` past them.

    Parameters
    ----------
    place : int64 (n,), the next free entry of each row in ``target``; changed
    rows, lengths : (p,), the rows of consecutive runs in ``source``, and their lengths
    source, target : cols, values, weights; weights (0,) where every weight is 1, in ``target`` only if nowhere else
    """
    cols, values, weights = source
    out_cols, out_values, out_weights = target
    at = 0
    for j in range(len(rows)):
        to, n = place[rows[j]], lengths[j]
        for e in range(n):
            out_cols[to + e] = cols[at + e]
            out_values[to + e] = values[at + e]
        if len(out_weights):
            for e in range(n):
                out_weights[to + e] = weights[at + e] if len(weights) else np.float32(1)
        place[rows[j]] = to + n
        at += n


@njit(cache=True, nogil=True)
def place_across(
    place: I64, order: I64, cols: I32, starts: I64, source: tuple[I32, F32, F32], target: tuple[I32, F32, F32]
) -> None:
    """As `place_runs`, of runs that share a column: in order of their columns, each row's entries come sorted.

    Parameters
    ----------
    place : int64 (n,), the next free entry of each row in ``target``; changed
    order : int64 (p,), the order of the runs
    cols : (p,), the columns of the runs
    starts : int64 (p + 1,), run j is ``starts[j]:starts[j + 1]`` of ``source``
    source : rows, 0 ≤ row < n, values, weights; weights (0,) where every weight is 1
    target : cols, values, weights
    """
    rows, values, weights = source
    out_cols, out_values, out_weights = target
    for j in order:
        for e in range(starts[j], starts[j + 1]):
            to = place[rows[e]]
            place[rows[e]] = to + 1
            out_cols[to] = cols[j]
            out_values[to] = values[e]
            if len(out_weights):
                out_weights[to] = weights[e] if len(weights) else np.float32(1)


# A count for every possible column pays while there are not many times more of them than entries.
_SPARE_COLS = 1 << 16


@njit(cache=True, nogil=True)
def _disordered(indptr: I64, cols: I32) -> NDArray[np.bool_]:
    """The rows whose columns do not ascend."""
    out = np.zeros(len(indptr) - 1, np.bool_)
    for i in range(len(out)):
        for e in range(indptr[i] + 1, indptr[i + 1]):
            if cols[e] < cols[e - 1]:
                out[i] = True
                break
    return out


@njit(cache=True, nogil=True)
def _by_row(order: I32, rows: I32, indptr: I64) -> I32:
    """``order``, stably sorted by row."""
    place = indptr[:-1].astype(np.int32)
    out = np.empty(len(order), np.int32)
    for e in order:
        row = rows[e]
        out[place[row]] = e
        place[row] += 1
    return out


def col_order(indptr: I64, cols: I32) -> tuple[I64 | slice, I32 | I64] | None:
    """How to sort the entries of each row by column, stably.

    Parameters
    ----------
    indptr : int64 (n + 1,)
    cols : int32 (m,), not negative, m < 2³¹

    Returns
    -------
    (to, source), or None where every row is in order: ``cols[to] = cols[source]`` sorts. Where most rows are in order,
    as those of data that were ordered mostly are, ``to`` leaves them out.
    """
    disordered, lengths = _disordered(indptr, cols), np.diff(indptr)
    share = int(lengths[disordered].sum())
    if not share:
        return None
    if 2 * share > len(cols):
        return slice(None), _rows_sorted(indptr, cols)
    starts, lengths = indptr[:-1][disordered], lengths[disordered]
    ends = np.r_[0, np.cumsum(lengths)]
    to = np.repeat(starts - ends[:-1], lengths) + np.arange(share)
    return to, to[_rows_sorted(ends, cols[to])]


def _rows_sorted(indptr: I64, cols: I32) -> I32:
    n_cols = int(cols.max()) + 1
    if n_cols <= 2 * len(cols) + _SPARE_COLS:
        by_col, _ = counting_order(cols, n_cols)
    else:
        by_col = np.argsort(cols, kind="stable").astype(np.int32)
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    return _by_row(by_col, rows, indptr)
