"""The executor without Spark: blocks in memory, factors handed over as they are. Tests, small fits, one Spark task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from recsys_spark.als.executor import Work
from recsys_spark.als.gathering import Gathering
from recsys_spark.als.keep import MemoryKeep
from recsys_spark.als.meter import Done, timed
from recsys_spark.als.work import NO_OTHER, NO_OWN, NO_ROWS, Needs, Rows, View
from recsys_spark.blocks.layout import ITEMS, USERS, Block, other
from recsys_spark.blocks.plan import Plan
from recsys_spark.kernels.rows import F32, NO_F32, Other, pad


class LocalExchange:
    """An `Exchange` within one process."""

    def __init__(self) -> None:
        self._rows: dict[int, Other] = {}
        self._mine: dict[int, tuple[F32, F32]] = {}
        self._kept: dict[int, F32] = {}
        self._own: dict[int, F32] = {}

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """See `Exchange`."""
        self._mine[side] = factors, biases
        self._rows[side] = Other(pad(factors), biases)

    def fix_biases(self, side: int, biases: F32) -> None:
        """See `Exchange`."""
        self._kept[side] = biases

    def publish_own(self, side: int, own: F32) -> None:
        """See `Exchange`."""
        self._own[side] = own

    def view(self, block: Block, needs: Needs) -> View:
        """See `Exchange`."""
        rows = slice(block.start, block.stop)
        kept = self._kept.get(block.side, NO_F32)[rows]
        mine = NO_ROWS
        if Needs.MINE in needs:
            mine = Rows(block.start, *(array[rows] for array in self._mine[block.side]))
        across = self._rows[other(block.side)] if Needs.OTHER in needs else NO_OTHER
        own = self._own[block.side] if Needs.OWN in needs else NO_OWN
        return View(across, kept, own=own, own_start=block.start, mine=mine)


class InProcess(Gathering):
    """Blocks of both sides, one after another, in this process."""

    def __init__(self, plan: Plan, blocks: Sequence[Block]) -> None:
        super().__init__(plan, LocalExchange())
        self._blocks = {side: [(b, MemoryKeep()) for b in blocks if b.side == side] for side in (USERS, ITEMS)}

    @property
    def at_a_time(self) -> int:
        """One after another."""
        return 1

    def run(self, side: int, task: Work[Any], needs: Needs, each: int = 0) -> list[Done]:
        """See `Executor`."""
        return [timed(task, b, partial(self._view, b, keep, needs)) for b, keep in self._blocks[side]]

    def close(self) -> None:
        """See `Executor`; memory is all there is."""
        self._blocks = {USERS: [], ITEMS: []}

    def _view(self, block: Block, keep: MemoryKeep, needs: Needs) -> View:
        return self.exchange.view(block, needs)._replace(keep=keep)
