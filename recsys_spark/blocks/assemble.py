"""From loose entries to a block: sorted, checked, the same arrays whatever order and pieces the entries came in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_spark.blocks.layout import Block, Entries
from recsys_spark.kernels.rows import Csr


def to_csr(entries: Entries, start: int, stop: int) -> Csr:
    """Rows start:stop as a CSR sorted by (row, col, value, weight): duplicates too have one order."""
    rows = entries.rows.astype(np.int64) - start
    width = int(entries.cols.max(initial=0)) + 1
    key = rows * width + entries.cols
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    if np.any(ordered[1:] == ordered[:-1]):
        ties = (entries.weights, entries.values, key) if entries.weights.size else (entries.values, key)
        order = np.lexsort(ties)
    indptr = np.zeros(stop - start + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=stop - start), out=indptr[1:])
    sorted_entries = entries.take(order)
    return Csr(indptr, sorted_entries.cols, sorted_entries.values, sorted_entries.weights)


def assemble(
    side: int,
    start: int,
    stop: int,
    ratings: Sequence[Entries],
    features: Sequence[Entries] = (),
    held_out: Sequence[Entries] = (),
    keys: np.ndarray | None = None,
) -> Block:
    """The block of rows start:stop of ``side`` from pieces in any order. Executor or in-process.

    Parameters
    ----------
    ratings, features, held_out : sequences of Entries
        Training ratings, feature values (cols are feature columns), validation ratings; all within start:stop.
    keys : uint64 ndarray of shape (stop - start,), optional
        Keys of the rows' ids; zeros where not given.
    """
    return Block(
        side,
        start,
        ratings=to_csr(Entries.concatenate(ratings), start, stop),
        features=to_csr(Entries.concatenate(features), start, stop),
        held_out=to_csr(Entries.concatenate(held_out), start, stop),
        keys=np.zeros(stop - start, np.uint64) if keys is None else keys,
    )
