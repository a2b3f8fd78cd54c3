"""Entries with those of a row together: how they travel, in few bytes, and how they become a sorted CSR."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsys_spark.blocks.layout import Entries
from recsys_spark.blocks.wire import code_values, decode_values, look_up, narrow
from recsys_spark.kernels.bucket import col_order, place_across, place_runs
from recsys_spark.kernels.coding import add_counts
from recsys_spark.kernels.rows import F32, I32, I64, NO_F32, Csr, read_only

NO_NAMES: I32 = np.empty(0, np.int32)


class Grouped(NamedTuple):
    """Entries of one side, those of a row together.

    >>> grouped = Grouped.of(Entries.of(rows=[7, 5, 7], cols=[1, 2, 0], values=[3, 4, 3]))
    >>> grouped.rows.tolist(), grouped.lengths.tolist(), grouped.cols.tolist()
    ([5, 7], [1, 2], [2, 1, 0])
    >>> [part.rows.tolist() for part in grouped.cut(np.array([0, 6, 6, 8]))]
    [[5], [], [7]]
    """

    rows: np.ndarray  # (p,) int32, ascending, each once
    lengths: np.ndarray  # (p,) integer, entries of each row
    cols: np.ndarray  # (m,) integer; places in names, where there are names
    levels: F32  # (l,) see `wire.code_values`
    values: np.ndarray  # (m,) uint8 codes, or float32 where there are no levels
    weights: F32  # (m,), or (0,) where every weight is 1
    names: I32 = NO_NAMES  # (q,) ascending, or (0,)
    across: bool = False  # rows and columns have changed places: entries of a column are together

    @classmethod
    def of(cls, entries: Entries) -> Grouped:
        """Loose entries, grouped."""
        if np.any(entries.rows[1:] < entries.rows[:-1]):
            entries = entries.take(np.argsort(entries.rows, kind="stable"))
        rows = entries.rows
        first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.empty(0, np.int64)
        lengths = np.diff(np.r_[first, len(rows)])
        return cls(rows[first], lengths, entries.cols, *code_values(entries.values), entries.weights)

    def cut(self, bounds: np.ndarray) -> list[Grouped]:
        """The entries of rows ``bounds[b]:bounds[b + 1]``, for each b."""
        rows = np.searchsorted(self.rows, bounds)
        ends = np.r_[0, np.cumsum(self.lengths, dtype=np.int64)][rows]
        return [self._part(slice(*rows[b : b + 2]), slice(*ends[b : b + 2])) for b in range(len(bounds) - 1)]

    def _part(self, rows: slice, entries: slice) -> Grouped:
        weights = self.weights[entries] if self.weights.size else self.weights
        return Grouped(
            self.rows[rows],
            self.lengths[rows],
            self.cols[entries],
            self.levels,
            self.values[entries],
            weights,
            self.names,
        )

    def small(self) -> Grouped:
        """The same in the smallest types that hold it, without names where they take more than they save.

        >>> names = np.array([5, 70_000, 80_000], np.int32)
        >>> ones = np.ones(9, np.int64)
        >>> long = Grouped(ones[:1], 9 * ones[:1], np.arange(9) // 3, NO_F32, ones, NO_F32, names).small()
        >>> long.cols.dtype.name, long.names.tolist()
        ('uint8', [5, 70000, 80000])
        >>> short = Grouped(ones[:1], ones[:1], ones[:1], NO_F32, ones[:1], NO_F32, names).small()
        >>> short.cols.tolist(), short.names.tolist()
        ([70000], [])
        """
        lengths, cols = narrow(self.lengths), narrow(self.cols)
        wide = np.min_scalar_type(int(self.names.max(initial=0))).itemsize
        if len(cols) * cols.itemsize + self.names.nbytes < len(cols) * wide:
            return self._replace(lengths=lengths, cols=cols)
        return self._replace(lengths=lengths, cols=narrow(self.numbers()), names=NO_NAMES)

    def numbers(self) -> np.ndarray:
        """The entries' columns, (m,) integer."""
        return look_up(self.names, self.cols) if self.names.size else self.cols


def to_csr(parts: Sequence[Grouped], start: int, stop: int) -> Csr:
    """Rows start:stop as a CSR sorted by (row, col, value, weight): the same bits whatever the parts and their order.

    Parts without weights count as weight 1 beside parts with. The rows of all parts lie within start:stop.
    """
    parts = [part for part in parts if len(part.cols)]
    counts = np.zeros(stop - start, np.int64)
    for part in parts:
        _count(part, start, counts)
    indptr = np.r_[0, np.cumsum(counts, dtype=np.int64)]
    m = int(indptr[-1])
    weighted = any(part.weights.size for part in parts)
    cols, values = np.empty(m, np.int32), np.empty(m, np.float32)
    weights = np.empty(m, np.float32) if weighted else NO_F32
    target, place = (cols, values, weights), indptr[:-1].copy()
    for part in _in_turn([p for p in parts if p.across]):
        starts = np.r_[0, np.cumsum(part.lengths, dtype=np.int64)]
        order = np.argsort(part.rows, kind="stable")
        source = (_less(part, start), decode_values(part.levels, part.values), part.weights)
        place_across(place, order, part.rows.astype(np.int32, copy=False), starts, source, target)
    # In this order the columns of a row mostly ascend from part to part; sorting has less to do.
    for part in sorted((p for p in parts if not p.across), key=_first):
        place_runs(
            place,
            (part.rows - start).astype(np.int32),
            part.lengths.astype(np.int64),
            (part.numbers().astype(np.int32, copy=False), decode_values(part.levels, part.values), part.weights),
            target,
        )
    csr = Csr(indptr, cols, values, weights)
    _sort(csr)
    return csr


def _count(part: Grouped, start: int, counts: I64) -> None:
    """Add up the entries of each row."""
    if not part.across:
        counts[part.rows - start] += part.lengths  # no row twice in a part
    elif part.names.size:
        add_counts(counts, *read_only((part.names - start).astype(np.int32), part.cols))
    else:
        counts += np.bincount(_less(part, start), minlength=len(counts))


def _less(part: Grouped, start: int) -> I32:
    """The numbers that entries of a part that is ``across`` have as rows of a block."""
    if part.names.size:
        return look_up((part.names - start).astype(np.int32), part.cols)
    return part.cols.astype(np.int32) - np.int32(start)


def _in_turn(parts: Sequence[Grouped]) -> Sequence[Grouped]:
    """Parts that are ``across`` in an order in which their rows ascend, joined to one where there is none."""
    parts = sorted(parts, key=lambda part: (int(part.rows[0]), int(part.rows[-1])))
    if all(before.rows[-1] <= after.rows[0] for before, after in itertools.pairwise(parts)):
        return parts
    weights = NO_F32
    if any(p.weights.size for p in parts):
        weights = np.concatenate([p.weights if p.weights.size else np.ones(len(p.cols), np.float32) for p in parts])
    joined = Grouped(
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.lengths for p in parts]),
        np.concatenate([p.numbers().astype(np.int32) for p in parts]),
        NO_F32,
        np.concatenate([decode_values(p.levels, p.values) for p in parts]),
        weights,
        across=True,
    )
    return [joined]


def _first(part: Grouped) -> int:
    least = int(part.cols.min())
    return int(part.names[least]) if part.names.size else least


def _sort(csr: Csr) -> None:
    """Sort each row by (col, value, weight), in place."""
    moves = col_order(csr.indptr, csr.cols)
    if moves is not None:
        _move(csr, *moves)
    repeated = csr.repeated()
    if repeated.any():
        cells = np.cumsum(np.r_[True, ~repeated])
        where = np.flatnonzero(np.r_[False, repeated] | np.r_[repeated, False])
        keys = (csr.values[where], cells[where])
        _move(csr, where, where[np.lexsort((csr.weights[where], *keys) if csr.weights.size else keys)])


def _move(csr: Csr, to: np.ndarray | slice, source: np.ndarray) -> None:
    for array in (csr.cols, csr.values, csr.weights):
        if array.size:
            array[to] = array[source]
