"""Which row belongs to which block: the sorted ids of both sides, their numbers, and the cuts between blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.partition import balanced_bounds, lookup
from recsys_spark.errors import DataError
from recsys_spark.kernels.start import keys_of


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

    def keys(self, block: int) -> np.ndarray:
        """Keys of the block's ids, uint64."""
        ids = self.ids.slice(self.bounds[block], self.bounds[block + 1] - self.bounds[block])
        return keys_of(ids.to_numpy(zero_copy_only=False))


class Layout(NamedTuple):
    """Which rows lie in which block, and which block in which partition of a fit's RDDs."""

    bounds: tuple[np.ndarray, np.ndarray]  # of users, items: as `SidePlan.bounds`
    paired: bool

    def slot(self, side: int, block: int) -> int:
        """The number of a block among all blocks."""
        return block + side * (len(self.bounds[USERS]) - 1)

    @property
    def partitions(self) -> int:
        """Paired, one more than blocks need: nothing is ever in the last one but what tasks have to say."""
        blocks = [len(bounds) - 1 for bounds in self.bounds]
        return max(blocks) + 1 if self.paired else sum(blocks)

    def partition(self, slot: int) -> int:
        """Where a block lies: each in a partition of its own, or paired, beside the other side's of the same number."""
        items = self.slot(ITEMS, 0)
        return slot - items if self.paired and slot >= items else slot


@dataclass(frozen=True, eq=False)
class Plan:
    """Both sides' plans. Small enough to broadcast: ids and cuts, no ratings. Slots number all blocks, users first.

    ``paired`` blocks number only the rows that they refer to (`Block.localised`), for rows that are routed to them.
    """

    user: SidePlan
    item: SidePlan
    paired: bool = False

    @property
    def layout(self) -> Layout:
        """Where blocks lie."""
        return Layout((self.user.bounds, self.item.bounds), self.paired)

    def side(self, side: int) -> SidePlan:
        """The plan of USERS or ITEMS."""
        return self.user if side == USERS else self.item

    @property
    def n_slots(self) -> int:
        """Blocks of both sides together."""
        return self.user.n_blocks + self.item.n_blocks

    def slot(self, side: int, block: int) -> int:
        """The number of a block among all blocks."""
        return self.layout.slot(side, block)

    def slots(self) -> Iterator[tuple[int, int, int]]:
        """(slot, side, block) of every block."""
        for side in (USERS, ITEMS):
            for block in range(self.side(side).n_blocks):
                yield self.slot(side, block), side, block


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
    if not len(ids):
        raise DataError(f"no training rating left to index {name}s by: the ratings are empty or all held out")
    if len(merged) >= 2**31:
        raise DataError(f"{len(merged)} {name} ids are more than the 2147483647 that a row number can hold")
    counts = np.zeros(len(merged))
    counts[lookup(merged, ids)] = rated.column("count").to_numpy()
    return SidePlan(merged, balanced_bounds(counts, blocks), n_features)
