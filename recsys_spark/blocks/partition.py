"""Cutting one side's rows into contiguous blocks of about equal work."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# A row costs its ratings plus the work of its own solve, about as much as this many ratings (rank 20 to 64).
ROW_COST = 16


def balanced_bounds(counts: np.ndarray, blocks: int) -> np.ndarray:
    """Row numbers (blocks + 1,) int64 that cut rows into ``blocks`` ranges of nearly equal Σ (ratings + ROW_COST).

    Rows are never split, so one row with most of the ratings makes one heavy block; ranges may be empty.

    >>> balanced_bounds(np.array([1000, 10, 10, 980]), 2).tolist()
    [0, 2, 4]
    """
    cost = np.cumsum(counts + ROW_COST, dtype=np.float64)
    total = cost[-1] if len(cost) else 0.0
    goals = total * np.arange(1, blocks) / blocks
    before = np.r_[0.0, cost[:-1]] if len(cost) else cost
    cuts = np.searchsorted((before + cost) / 2, goals, side="left") if len(cost) else np.zeros(blocks - 1)
    return np.r_[0, cuts, len(counts)].astype(np.int64)


def lookup(sorted_ids: pa.Array, wanted: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Row numbers of ``wanted`` ids, int64, -1 where unknown or null. Ids are sorted, unique int64 or strings."""
    if pa.types.is_integer(sorted_ids.type):
        known = sorted_ids.to_numpy()
        if not len(known) or pa.types.is_null(wanted.type):
            return np.full(len(wanted), -1, np.int64)
        null = pc.is_null(wanted).to_numpy(zero_copy_only=False) if wanted.null_count else None
        values = pc.fill_null(pc.cast(wanted, pa.int64()), 0).to_numpy(zero_copy_only=False)
        span = int(known[-1]) - int(known[0]) + 1
        if span <= 4 * len(known) + 1024:  # dense ids: a table is a few times faster than a search
            table = np.full(span, -1, np.int64)
            table[known - known[0]] = np.arange(len(known))
            inside = (values >= known[0]) & (values <= known[-1])
            found = np.where(inside, table[np.where(inside, values, known[0]) - known[0]], -1)
        else:
            found = np.minimum(np.searchsorted(known, values), len(known) - 1)
            found = np.where(known[found] == values, found, -1)
        return found if null is None else np.where(null, -1, found)
    found = pc.index_in(pc.cast(wanted, sorted_ids.type), value_set=sorted_ids)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
