"""Ratings as they come, coded: dictionaries of ids, levels of values, entries grouped by user; all in linear time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys_spark.kernels.rows import F32, I32, I64

MAX_LEVELS = 256
_SLOTS = 1024  # of the table that finds a value's level; a power of two, well above the levels


@njit(cache=True, nogil=True)
def dense_places(ids: NDArray[np.integer], low: int, n: int) -> tuple[I64, I32]:
    """Sorted unique ids, and each id's place among them.

    Parameters
    ----------
    ids : integers (m,), low ≤ id < low + n, m < 2³¹

    Returns
    -------
    unique : int64 (u,)
    codes : int32 (m,)
    """
    place = np.zeros(n, np.int32)
    for e in range(len(ids)):
        place[np.int64(ids[e]) - low] = 1
    unique = np.empty(place.sum(), np.int64)
    found = np.int32(0)
    for i in range(n):
        if place[i]:
            unique[found] = low + i
            place[i] = found
            found += np.int32(1)
    codes = np.empty(len(ids), np.int32)
    for e in range(len(ids)):
        codes[e] = place[np.int64(ids[e]) - low]
    return unique, codes


@njit(cache=True, nogil=True)
def value_levels(values: F32) -> tuple[F32, NDArray[np.uint8]]:
    """The distinct values in order of their first appearance, at most 256, and each value's place among them.

    Values are told apart by their bits. Both arrays are empty where there are more than 256.
    """
    bits = values.view(np.uint32)
    level = np.full(_SLOTS, -1, np.int32)
    levels = np.empty(MAX_LEVELS, np.uint32)
    codes = np.empty(len(bits), np.uint8)
    found = 0
    for e in range(len(bits)):
        slot = np.int64((np.uint64(bits[e]) * np.uint64(2654435761) & np.uint64(0xFFFFFFFF)) >> np.uint64(22))
        while level[slot] >= 0 and levels[level[slot]] != bits[e]:
            slot = (slot + 1) % _SLOTS
        if level[slot] < 0:
            if found == MAX_LEVELS:
                return levels[:0].view(np.float32), codes[:0]
            levels[found] = bits[e]
            level[slot] = found
            found += 1
        codes[e] = level[slot]
    return levels[:found].view(np.float32), codes


@njit(cache=True, nogil=True)
def count_kind(users: I32, items: I32, mine: NDArray[np.bool_], of_users: I64, of_items: I64) -> None:
    """Count those ratings that are ``mine``, by user and by item.

    Parameters
    ----------
    users, items : int32 (m,), places
    mine : bool (m,)
    of_users, of_items : int64, added to
    """
    for step in range(len(users)):
        e = np.uint64(step)
        of_items[np.uint32(items[e])] += np.int64(mine[e])
        of_users[np.uint32(users[e])] += np.int64(mine[e])


@njit(cache=True, nogil=True)
def group_kind(
    place: I64, users: I32, names: I32, mine: NDArray[np.bool_],
    source: tuple[I32, NDArray[np.generic], F32], target: tuple[I32, NDArray[np.generic], F32],
) -> None:  # fmt: skip
    """Put those ratings that are ``mine`` in order of their users, stably.

    Parameters
    ----------
    place : int64, where each user's entries begin; changed
    users, mine : as `count_kind` has them
    names : int32, what each item's place is called in the target
    source, target : items, values, weights; weights (0,) where every weight is 1
    """
    items, values, weights = source
    out_items, out_values, out_weights = target
    if len(users) == 0:
        return
    # Unsigned, since Numba looks whether others count from the end.
    user, to = users[0], np.uint64(place[users[0]])
    for step in range(len(users)):
        e = np.uint64(step)
        if users[e] != user:  # a user's ratings mostly lie together
            place[user] = to
            user, to = users[e], np.uint64(place[users[e]])
        if mine[e]:
            out_items[to] = names[np.uint32(items[e])]
            out_values[to] = values[e]
            if len(weights):
                out_weights[to] = weights[e]
            to += np.uint64(1)
    place[user] = to


@njit(cache=True, nogil=True)
def looked_up(table: NDArray[np.generic], places: NDArray[np.integer]) -> NDArray[np.generic]:
    """``table[places]``; places are not checked."""
    out = np.empty(len(places), table.dtype)
    for e in range(len(places)):
        out[e] = table[places[e]]
    return out


@njit(cache=True, nogil=True)
def add_counts(counts: I64, table: I32, places: NDArray[np.integer]) -> None:
    """``counts[table[place]] += 1`` for each place; nothing is checked."""
    for e in range(len(places)):
        counts[table[places[e]]] += 1


@njit(cache=True, nogil=True)
def split_columns(
    block: I32, first: I64, lengths: I64, source: tuple[NDArray[np.integer], NDArray[np.generic], F32],
    target: tuple[I32, NDArray[np.generic], F32],
) -> tuple[I64, I64]:  # fmt: skip
    """Entries of consecutive runs, block by block of their columns, stably; columns are numbered within their block.

    Parameters
    ----------
    block : int32 (q,), the block of each column; -1 for columns that are left out
    first : int64 (b,), the first column of each block
    lengths : int64 (p,), of the runs
    source, target : cols, values, weights; weights (0,) where every weight is 1

    Returns
    -------
    starts : int64 (b + 1,), where each block's entries begin in ``target``
    counts : int64 (b, p), entries of each block and run
    """
    cols, values, weights = source
    out_cols, out_values, out_weights = target
    counts = np.zeros((len(first), len(lengths)), np.int64)
    at = 0
    for j in range(len(lengths)):
        for e in range(at, at + lengths[j]):
            b = block[cols[e]]
            if b >= 0:
                counts[b, j] += 1
        at += lengths[j]
    starts = np.zeros(len(first) + 1, np.int64)
    for b in range(len(first)):
        starts[b + 1] = starts[b] + counts[b].sum()
    place = starts[:-1].copy()
    for e in range(at):
        b = block[cols[e]]
        if b < 0:
            continue
        to = place[b]
        place[b] = to + 1
        out_cols[to] = np.int64(cols[e]) - first[b]
        out_values[to] = values[e]
        if len(weights):
            out_weights[to] = weights[e]
    return starts, counts
