"""Which rows a block has to send to which others, so that each gets only the rows that it refers to. Executor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.layout import Block, other
from recsys_spark.blocks.plan import Layout
from recsys_spark.blocks.wire import unpack
from recsys_spark.kernels.rows import F64, I32


class Route(NamedTuple):
    """Rows of one block that another block refers to."""

    slot: int  # of the block that they are for
    across: bool  # it is a block of the other side, and refers to them in its ratings; else of the same, in its graph
    rows: I32  # their places in the block that they come from, ascending


class Index(NamedTuple):
    """Which rows a block has: where they begin, their ids as `Block.packed_ids`, Σw of each. Kept beside its routes."""

    start: int
    packed_ids: np.ndarray
    counts: F64

    @property
    def ids(self) -> pa.Array:
        """The rows' ids."""
        return unpack(self.packed_ids)["ids"]


def routes_to(slot: int, block: Block, layout: Layout) -> Iterator[tuple[int, Route]]:
    """What a localised block wants of others, and of itself: (slot of the block that has the rows, their route)."""
    for side, wanted, across in ((other(block.side), block.refers, True), (block.side, block.neighbours, False)):
        if wanted is None:
            raise ValueError(f"block {slot} is not localised: it refers to whole sides")
        bounds = layout.bounds[side]
        cuts = np.searchsorted(wanted, bounds)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            rows = wanted[cuts[number] : cuts[number + 1]] - np.int32(bounds[number])
            yield layout.grid.slot(side, number), Route(slot, across, rows)
