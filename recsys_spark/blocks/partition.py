"""Cutting one side's rows into contiguous blocks of about equal work."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What a row costs beside its ratings, counted in ratings, at rank 32 (at rank 64 a half more, at 10 a little less).
OWN_COST = 40  # it is solved
# It is solved twice, and adds to the sums of the side's projection: 200 to an iteration. But building a block costs
# what its ratings do: with 200 builds took a tenth longer, with 80 neither they nor iterations (docs/performance.md).
FEATURED_COST = 80
UNRATED_COST = 4  # it equals its prior


def own_cost(n_features: int) -> int:
    """What a rated row costs beside its ratings, of a side with so many feature columns."""
    return FEATURED_COST if n_features else OWN_COST


def row_costs(counts: np.ndarray, n_features: int) -> np.ndarray:
    """What rows of so many ratings cost an iteration, (n,) int64, in ratings."""
    counts = np.asarray(counts, np.int64)
    return np.where(counts > 0, counts + own_cost(n_features), UNRATED_COST)


def balanced_bounds(costs: np.ndarray, blocks: int) -> np.ndarray:
    """Row numbers (blocks + 1,) int64 that cut rows into ``blocks`` ranges, the costliest as cheap as can be.

    ``costs`` are whole numbers above 0 (`row_costs`). Rows are never split, so one row with most of the ratings makes
    one heavy block; ranges may be empty. Among the cuts of least maximum, those nearest to equal shares are taken.

    >>> balanced_bounds(np.array([1000, 10, 10, 980]), 2).tolist()
    [0, 2, 4]
    """
    rows = len(costs)
    edge = np.r_[0, np.cumsum(np.asarray(costs, np.int64))]
    most = _least_maximum(edge, blocks)
    earliest = [rows]  # cuts from the last one back, no block costing more than that
    for _ in range(blocks):
        earliest.append(int(np.searchsorted(edge, edge[earliest[-1]] - most)))
    bounds = [0]
    for k in range(1, blocks):
        middle = np.searchsorted(edge[:-1] + edge[1:], 2 * edge[-1] * k / blocks)
        bounds.append(int(np.clip(middle, earliest[blocks - k], _reach(edge, bounds[-1], most))))
    return np.array([*bounds, rows], np.int64)


def _reach(edge: np.ndarray, start: int, most: int) -> int:
    """The last row number that a range from ``start`` can stop before, at a cost of ``most``."""
    return int(np.searchsorted(edge, edge[start] + most, side="right")) - 1


def _least_maximum(edge: np.ndarray, blocks: int) -> int:
    """The least cost that no range of some cut into ``blocks`` passes, by bisection."""

    def enough(most: int) -> bool:
        at = 0
        for _ in range(blocks):
            at = _reach(edge, at, most)
        return at == len(edge) - 1

    low, high = int(np.diff(edge).max(initial=0)), int(edge[-1])
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def lookup(sorted_ids: pa.Array, wanted: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Row numbers of ``wanted`` ids, int64, -1 where unknown or null. Ids are sorted, unique int64 or strings."""
    if pa.types.is_integer(sorted_ids.type):
        known = sorted_ids.to_numpy()
        if not len(known) or pa.types.is_null(wanted.type):
            return np.full(len(wanted), -1, np.int64)
        null = pc.is_null(wanted).to_numpy(zero_copy_only=False) if wanted.null_count else None
        values = pc.fill_null(pc.cast(wanted, pa.int64()), 0).to_numpy(zero_copy_only=False)
        span = int(known[-1]) - int(known[0]) + 1
        dense, many = span <= 4 * len(known) + 1024, 8 * len(values) >= len(known)
        if dense and many:  # a table is a few times faster than a search, but to be made
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
