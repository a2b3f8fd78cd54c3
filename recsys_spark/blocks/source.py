"""What blocks are made of, whichever way a fit wants them: with all ids on the driver, or with none. Driver."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from recsys_spark.blocks.build import Graphs, block_records, plan_blocks
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS, Block, smaller_side
from recsys_spark.blocks.plan import Plan
from recsys_spark.blocks.ranged import Ranged, ranged_blocks

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame, SparkSession

ROUTED = ("mixed", "shuffle")
"""Exchanges of fits in which no process is to hold all ids."""


class BlockSource(Protocol):
    """Blocks that are made when a fit has chosen how it runs."""

    @property
    def spark(self) -> SparkSession:
        """The session that holds the data."""

    @property
    def ratings(self) -> int:
        """How many training ratings there are."""

    @property
    def rows(self) -> tuple[int, int]:
        """How many users and items there are, about; no id comes to the driver that was not there."""

    @property
    def plan(self) -> Plan:
        """The index of both sides, for `records`."""

    def records(self, plan: Broadcast[Plan]) -> RDD[tuple[int, Block]]:
        """As `build.block_records`."""

    def ranged(self, rank: int, shared: int | None = None) -> AbstractContextManager[Ranged]:
        """As `ranged.ranged_blocks`, for rows of that rank, those of the side ``shared`` not routed."""


def shared_side(exchange: str, source: BlockSource) -> int | None:
    """The side whose rows are broadcast beside routed ones in an exchange, if there is one."""
    return smaller_side(source.rows) if exchange == "mixed" else None


class TableBlocks:
    """Blocks of ratings, features and graphs. Parameters, and errors of its properties, as `build.plan_blocks`.

    Where tallies of the ratings have come to the driver, so does the index, at once.
    """

    def __init__(
        self,
        encoded: EncodedRatings,
        features: dict[int, DataFrame],
        n_features: tuple[int, int],
        grid: tuple[int, int],
        graphs: Graphs,
    ) -> None:
        self.spark, self.ratings, self.features = encoded.session, encoded.ratings, features
        self._encoded, self._graphs, self._grid, self._n_features = encoded, graphs, grid, n_features
        if encoded.tallied:
            _ = self.plan

    @cached_property
    def rows(self) -> tuple[int, int]:
        """See `BlockSource`; of ids with ratings where they have to be counted."""
        if self._encoded.tallied:
            return len(self.plan.user.ids), len(self.plan.item.ids)
        users, items = (self._encoded.tallies(side).count() for side in (USERS, ITEMS))
        return users, items

    @cached_property
    def plan(self) -> Plan:
        """See `BlockSource`."""
        return plan_blocks(self._encoded, self.features, self._n_features, self._grid, self._graphs)

    def records(self, plan: Broadcast[Plan]) -> RDD[tuple[int, Block]]:
        """See `BlockSource`."""
        return block_records(self._encoded, self.features, plan, self._graphs)

    def ranged(self, rank: int, shared: int | None = None) -> AbstractContextManager[Ranged]:
        """See `BlockSource`."""
        return ranged_blocks(self._encoded, self.features, self._n_features, self._grid, self._graphs, rank, shared)
