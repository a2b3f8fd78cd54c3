"""Which row belongs to which block: sorted ids, their numbers, and the cuts between blocks.

Where rows are broadcast, the driver knows all ids: a `Plan`. Where they are routed it knows but the ids at which blocks
begin: `Cuts`, and once blocks know their ids, how many there are of them: a `Layout`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.partition import balanced_bounds, lookup, row_costs
from recsys_spark.errors import DataError

MOST_ROWS = 2**31 - 1
"""Rows of a side: row numbers are int32."""


class Grid(NamedTuple):
    """Blocks of users and items, and in which partition of a fit's RDDs each lies. Slots number all, users first."""

    users: int
    items: int
    paired: bool = False  # for rows that are routed

    @property
    def slots(self) -> int:
        """Blocks of both sides together."""
        return self.users + self.items

    def slot(self, side: int, block: int) -> int:
        """The number of a block among all blocks."""
        return block + side * self.users

    def side(self, slot: int) -> int:
        """The side of a slot's block."""
        return ITEMS if slot >= self.users else USERS

    def block(self, slot: int) -> int:
        """The number of a slot's block among those of its side."""
        return slot - self.users if slot >= self.users else slot

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """(slot, side, block) of every block."""
        for side, number in ((USERS, self.users), (ITEMS, self.items)):
            for block in range(number):
                yield self.slot(side, block), side, block

    @property
    def partitions(self) -> int:
        """Paired, one more than blocks need: nothing is ever in the last one but what tasks have to say."""
        return max(self.users, self.items) + 1 if self.paired else self.slots

    def partition(self, slot: int) -> int:
        """Where a block lies: each in a partition of its own, or paired, beside the other side's of the same number."""
        return self.block(slot) if self.paired else slot


class Numbered(NamedTuple):
    """Ids as the numbers that pieces of blocks know them by."""

    numbers: np.ndarray  # (n,) int64, -1 where unknown
    bounds: np.ndarray  # (blocks + 1,) int64: block b holds numbers bounds[b]:bounds[b + 1]


@dataclass(frozen=True, eq=False)
class SidePlan:
    """One side's index: row i is ``ids[i]``; block b holds rows ``bounds[b]:bounds[b + 1]``."""

    ids: pa.Array  # (n,) int64 or string, sorted, unique
    bounds: np.ndarray  # (blocks + 1,) int64
    n_features: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.bounds) - 1

    def rows(self, wanted: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Row numbers of ids, -1 where unknown."""
        return lookup(self.ids, wanted)

    def number(self, ids: pa.Array) -> Numbered:
        """Row numbers."""
        return Numbered(self.rows(ids), self.bounds)

    def ids_of(self, block: int) -> pa.Array:
        """The ids of a block's rows."""
        return self.ids.slice(self.bounds[block], self.bounds[block + 1] - self.bounds[block])


@dataclass(frozen=True, eq=False)
class Plan:
    """Both sides' plans, for rows that are broadcast. Small enough to broadcast too: ids and cuts, no ratings."""

    user: SidePlan
    item: SidePlan

    @property
    def grid(self) -> Grid:
        """How many blocks there are, and where."""
        return Grid(self.user.n_blocks, self.item.n_blocks)

    def side(self, side: int) -> SidePlan:
        """The plan of USERS or ITEMS."""
        return self.user if side == USERS else self.item


@dataclass(frozen=True, eq=False)
class SideCuts:
    """The ids at which a side's blocks begin, but for the first; blocks beyond the last are empty."""

    starts: pa.Array  # (at most n_blocks - 1,) int64 or string, sorted
    n_blocks: int
    n_features: int

    def edges(self, ids: pa.Array) -> np.ndarray:
        """Where each block's ids begin among sorted ids, and where the last one's end: int64 (n_blocks + 1,)."""
        if pa.types.is_integer(self.starts.type):
            inner = np.searchsorted(ids.to_numpy(), self.starts.to_numpy())
        else:
            at = [bisect_left(range(len(ids)), cut, key=lambda i: ids[i].as_py()) for cut in self.starts.to_pylist()]
            inner = np.array(at, np.int64)
        return np.r_[0, inner, np.full(self.n_blocks - len(inner), len(ids))].astype(np.int64)

    def number(self, ids: pa.Array) -> Numbered:
        """Places among the ids, which are sorted: the blocks will know their rows."""
        return Numbered(np.arange(len(ids)), self.edges(ids))


@dataclass(frozen=True, eq=False)
class Cuts:
    """Both sides' cuts, for rows that are routed: a few ids a side, however many there are."""

    user: SideCuts
    item: SideCuts

    @property
    def grid(self) -> Grid:
        """How many blocks there are, and where."""
        return Grid(self.user.n_blocks, self.item.n_blocks, paired=True)

    def side(self, side: int) -> SideCuts:
        """The cuts of USERS or ITEMS."""
        return self.user if side == USERS else self.item


@dataclass(frozen=True, eq=False)
class Layout:
    """Which ids, and which rows, lie in which block. Raises DataError where a side has more rows than can be numbered.

    ``bounds`` are of users and items, as `SidePlan.bounds`: rows are numbered as where the driver knows them.
    """

    cuts: Cuts
    bounds: tuple[np.ndarray, np.ndarray]

    def __post_init__(self) -> None:
        for side in (USERS, ITEMS):
            check_rows(side, self.rows(side))

    @property
    def grid(self) -> Grid:
        """How many blocks there are, and where."""
        return self.cuts.grid

    def rows(self, side: int) -> int:
        """How many rows a side has."""
        return int(self.bounds[side][-1])


def check_rows(side: int, rows: int) -> None:
    """Raise DataError for more rows than can be numbered."""
    if rows > MOST_ROWS:
        raise DataError(f"{rows} {SIDE_NAMES[side]} ids are more than the {MOST_ROWS} that a row number can hold")


def check_rated(side: int, rated: int) -> None:
    """Raise DataError where a side has no id with a training rating."""
    if not rated:
        name = SIDE_NAMES[side]
        raise DataError(f"no training rating left to index {name}s by: the ratings are empty or all held out")


def plan_side(
    side: int, rated: pa.Table, featured: pa.Array | pa.ChunkedArray | None, n_features: int, blocks: int
) -> SidePlan:
    """The index of a side: every id with training ratings or in its feature table, sorted.

    Parameters
    ----------
    rated : pa.Table with columns ``id``, ``count``
        Ids with training ratings and how many.
    featured : pa.Array, optional
        Ids of the feature table.

    Raises
    ------
    DataError
        Where a side has no id at all, ids are neither integers nor strings, or more than 2³¹ - 1 of them.
    """
    name = SIDE_NAMES[side]
    ids = rated.column("id").combine_chunks()
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise DataError(f"{name} ids must be integers or strings, found {ids.type}; cast the column first")
    kind = pa.int64() if pa.types.is_integer(ids.type) else pa.string()
    ids = pc.cast(ids, kind)
    if featured is not None:
        if featured.null_count:
            raise DataError(f"{featured.null_count} rows of the {name} features have a null id; drop or mend them")
        extra = pc.cast(featured.combine_chunks() if isinstance(featured, pa.ChunkedArray) else featured, kind)
        merged = pc.unique(pa.concat_arrays([ids, extra]))
    else:
        merged = ids
    merged = merged.take(pc.sort_indices(merged))
    check_rated(side, len(ids))
    check_rows(side, len(merged))
    counts = np.zeros(len(merged))
    counts[lookup(merged, ids)] = rated.column("count").to_numpy()
    return SidePlan(merged, balanced_bounds(row_costs(counts, n_features), blocks), n_features)
