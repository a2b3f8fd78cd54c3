"""The executor whose rows no process holds whole: blocks send each other the rows that they refer to. Driver.

A pass that makes rows is the map side of a shuffle. What a block has to send goes to the partitions of those who refer
to it, its own rows to its own partition, and its sums to one more partition, the only one that the driver reads: one
job, and the shuffle's files are where rows stay until the next pass over either side reads them. A lost file is
computed anew from those before, back to the last checkpoint, from which rows are read back so that what led there can
be forgotten. The chain of passes since then is kept, to be gone through again where that fails.

Blocks, routes and rows are partitioned alike, so a pass joins them without moving anything.

A side of few rows may be shared instead: after each pass over it the driver gathers its rows and broadcasts them
(`als.shared`), and blocks of the other side take what they refer to. Most data has many users and few items.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.als import restart
from recsys_spark.als import routed_tasks as tasks
from recsys_spark.als.executor import Executor, Work
from recsys_spark.als.messages import Lost
from recsys_spark.als.meter import Done
from recsys_spark.als.model import FitFacts, FittedModel, SideFacts
from recsys_spark.als.routed_rows import given_rows, rows_frame
from recsys_spark.als.shared import SharedRows
from recsys_spark.als.spread import SpreadModel, load_spread_uri, save_spread_uri, spread
from recsys_spark.als.stages import Resident, remove_shuffle
from recsys_spark.als.work import Needs, Rows
from recsys_spark.blocks.layout import ITEMS, USERS, Block, other
from recsys_spark.blocks.plan import Layout
from recsys_spark.blocks.ranged import beside
from recsys_spark.blocks.residency import Miss
from recsys_spark.errors import FitError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame, SparkSession


class _Link(NamedTuple):
    """A pass that made rows, as one of a chain: what it read and what came of it."""

    work: tasks.Pass
    inputs: tuple[int, ...]  # numbers of links
    given: RDD[Any] | None
    rows: RDD[Any]


_ATTEMPTS = 3


class RoutedStages(Executor[SpreadModel]):
    """Blocks resident on executors, rows routed between them.

    Parameters
    ----------
    spark : SparkSession
    layout : Layout
    records : RDD of (slot, block)
        As `blocks.ranged.ranged_blocks` gives them.
    fit : str
        A name no other fit of the application has.
    home : str
        Path or URI, on storage that all executors reach, that the model is written to; holds nothing yet.
    rank : int
    shared : USERS or ITEMS, optional
        The side whose rows go to the other's blocks by way of the driver; their number is one that every task can hold.
    """

    forgets = True

    def __init__(
        self,
        spark: SparkSession,
        layout: Layout,
        records: RDD[tuple[int, Block]],
        fit: str,
        home: str,
        rank: int,
        shared: int | None = None,
    ) -> None:
        from pyspark import StorageLevel

        super().__init__()
        self._spark, self._sc = spark, spark.sparkContext
        self._home, self._rank, self._layout = home, rank, layout
        self._fixed: set[int] = set()
        self._links: dict[int, _Link] = {}  # by number, in order
        self._latest: dict[int, int] = {}  # the link that made a side's rows as they are
        self._made: list[RDD[Any]] = []
        self._read_back = 0  # how many of those were made before rows were last read back
        self._count = 0
        self._shared_side, self._shared = shared, SharedRows(self._sc)
        lay_out = partial(tasks.lay_out, layout=layout, shared=shared)
        self._resident = Resident(self._sc, records, fit, lay_out)
        wanted = self._resident.handles.mapPartitions(tasks.wanted)
        self._routes: RDD[Any] = wanted.partitionBy(layout.grid.partitions, int)
        self._routes = self._routes.mapPartitions(iter, preservesPartitioning=True)
        self._routes.setName(f"routes {fit}").persist(StorageLevel.MEMORY_AND_DISK)

    @property
    def at_a_time(self) -> int:
        """Spark's own estimate of the cores there are."""
        return self._sc.defaultParallelism

    def run(self, side: int, task: Work[Any], needs: Needs, each: int = 0) -> list[Done]:
        """See `Executor`."""
        resident = self._resident

        def measured() -> list[Any]:
            results, slots = [], resident.slots[side]
            for blocks in (resident.handles, resident.records):
                work = self._pass(side, task, needs, slots)
                joined = self._beside(blocks, self._rows_of(side, self._inputs(side, needs, work.fixed)))
                found = resident.run(joined, partial(tasks.measure, work=work), slots, each)
                results += [r for r in found if not isinstance(r, Miss)]
                slots = [r.slot for r in found if isinstance(r, Miss)]
                if not slots:
                    break
            return results

        return self._whole(measured)

    def id_of(self, side: int, row: int) -> Any:
        """See `Executor`."""
        block = int(np.searchsorted(self._layout.bounds[side], row, side="right")) - 1
        slot = self._layout.grid.slot(side, block)
        return self._resident.run(self._routes, partial(tasks.id_of, slot=slot, row=row), [slot])[0]

    def settle(self, side: int, task: Work[tuple[Rows, Any]], needs: Needs) -> list[Done]:
        """See `Executor`."""
        return self._settle(side, task, needs)

    def fix_biases(self, side: int) -> None:
        """See `Executor`."""
        self._fixed.add(side)

    def place(
        self, side: int, model: SpreadModel | FittedModel, *, biases: bool, nonnegative: bool
    ) -> tuple[float, float]:
        """See `Executor`; rows find their blocks by id."""
        if side == USERS:
            self._read_back = len(self._made)
        task = partial(restart.place_block, biases=biases, nonnegative=nonnegative)
        needs = Needs.NOTHING if biases else Needs.MINE
        found = self._settle(side, task, needs, given=given_rows(self._spark, model, side, self._layout, self._rank))
        largest = np.array([d.result for d in found])
        return float(largest[:, 0].max()), float(largest[:, 1].max())

    def snapshot(self) -> list[int]:
        """See `Executor`: numbers of links."""
        return [self._latest[side] for side in (USERS, ITEMS)]

    def adopt(self, model: SpreadModel) -> list[DataFrame]:
        """See `Executor`. Rows were just read back: the shuffles that led to the checkpoint are removed."""
        for rows in self._made[: self._read_back]:
            remove_shuffle(self._sc, rows)
        kept = {id(rows) for rows in self._made[self._read_back :]}
        self._links = {number: link for number, link in self._links.items() if id(link.rows) in kept}
        self._made, self._read_back = self._made[self._read_back :], 0
        self._shared.keep({number for key, link in self._links.items() for number in (key, *link.inputs)})
        return [model.user.rows, model.item.rows]

    def model(self, snapshot: Sequence[Any], sides: Sequence[SideFacts], facts: FitFacts) -> SpreadModel:
        """See `Executor`; rows lazily, while the executor is open."""
        sizes = [(self._layout.rows(side), str(self._id_type(side))) for side in (USERS, ITEMS)]
        frames = [self._frame(side, taken) for side, taken in enumerate(snapshot)]
        return spread(frames, sizes, sides, facts, self._rank)

    def finished(self, model: SpreadModel) -> SpreadModel:
        """See `Executor`: written to ``home``."""
        save_spread_uri(self._spark, model, self._home)
        return load_spread_uri(self._spark, self._home)

    def close(self) -> None:
        """See `Executor`."""
        try:
            self._resident.close()
        finally:
            self._routes.unpersist()
            self._shared.close()
            for rows in self._made:
                remove_shuffle(self._sc, rows)
            self._made, self._links, self._latest = [], {}, {}

    def _pass(self, side: int, task: Work[Any], needs: Needs, slots: Iterable[int]) -> tasks.Pass:
        # What needs no rows does not need its biases either, be they fixed or not.
        fixed = side in self._fixed and bool(needs)
        across = Needs.OTHER in needs and other(side) == self._shared_side
        shared = self._shared.of(self._latest[other(side)]) if across else None
        return tasks.Pass(
            self._resident.fit, self._layout, frozenset(slots), side, task, needs, fixed, self._rank, shared
        )

    def _inputs(self, side: int, needs: Needs, fixed: bool) -> tuple[int, ...]:
        """The links whose rows a pass over a side reads."""
        sides = {other(side)} if Needs.OTHER in needs else set()
        if needs & (Needs.OWN | Needs.MINE) or fixed:
            sides.add(side)
        return tuple(self._latest[s] for s in sorted(sides))

    def _rows_of(self, side: int, inputs: Iterable[int]) -> list[RDD[Any]]:
        """What links sent to a side's blocks."""
        links = (self._links[number] for number in inputs)
        return [link.rows for link in links if link.work.side == side or link.work.side != self._shared_side]

    def _settle(
        self, side: int, task: Work[tuple[Rows, Any]], needs: Needs, given: RDD[Any] | None = None
    ) -> list[Done]:
        work = self._pass(side, task, needs, self._resident.slots[side])
        inputs, number = self._inputs(side, needs, work.fixed), self._count
        self._count += 1

        def send() -> list[Any]:
            self._links[number], found = self._send(work, inputs, given)
            return found

        found: list[Any] = self._whole(send)
        self._latest[side] = number
        if side == self._shared_side:
            with self.meter.during("exchange"):
                self.meter.moved += 2 * self._shared.publish(number, self._read(number, tasks.parts))
        return found

    def _send(self, work: tasks.Pass, inputs: tuple[int, ...], given: RDD[Any] | None) -> tuple[_Link, list[Any]]:
        """Make rows, and what the driver has to know of them. One job; two where a block's file is missing."""
        others = [self._routes, *self._rows_of(work.side, inputs), *([given] if given is not None else [])]
        found: list[Any] = []
        missing: list[int] = []
        for _ in range(2):
            joined = self._beside(self._resident.handles, [*others, *self._records_of(missing)])
            sent: RDD[Any] = joined.mapPartitions(partial(tasks.send, work=work))
            rows = sent.partitionBy(self._layout.grid.partitions, int)
            self._made.append(rows)
            found = self._sc.runJob(rows, tasks.mail, [self._layout.grid.partitions - 1])
            missing = [r.slot for r in found if isinstance(r, Miss)]
            if not missing:
                break
        return _Link(work, inputs, given, rows), found

    def _made_by(self, number: int) -> RDD[Any]:
        """A link's rows, with the indexes of their blocks."""
        return self._beside(self._routes, [self._links[number].rows])

    def _read(self, number: int, task: Callable[..., list[Any]]) -> list[Any]:
        """What a task finds in a link's rows, all of which are there."""
        slots = self._resident.slots[self._links[number].work.side]
        find = partial(task, slots=frozenset(slots))
        return self._whole(lambda: self._resident.run(self._made_by(number), find, slots))

    def _records_of(self, slots: Sequence[int]) -> list[RDD[Any]]:
        """The records of some blocks' partitions."""
        if not slots:
            return []
        wanted = frozenset(self._resident.partitions(slots))
        only = partial(tasks.only, partitions=wanted)
        return [self._resident.records.mapPartitionsWithIndex(only, preservesPartitioning=True)]

    def _whole(self, passed: Callable[[], list[Any]]) -> list[Any]:
        """The results of a pass to which all rows came that its blocks refer to.

        Rows are lost where an executor is, and Spark computes what it had sent anew, with a block whose file is not
        where the task runs. All rows since they were last read back are then made once more, by passes that can say so.
        """
        for _ in range(_ATTEMPTS):
            found = passed()
            if not any(isinstance(r, Lost | Miss) for r in found):
                return found
            log.warning("rows that an executor had sent are lost: making them again")
            for number, link in list(self._links.items()):
                self._links[number], _ = self._send(link.work, link.inputs, link.given)
        raise FitError(
            "executors are lost faster than what they had sent can be made again; fit again: with a checkpointDir the "
            "fit goes on from its last checkpoint"
        )

    def _beside(self, blocks: RDD[Any], others: Sequence[RDD[Any]]) -> RDD[Any]:
        """One RDD of elements that lie in the same partitions; tasks run where their block is.

        Spark runs a task where most of a union's members want it, so the blocks are given more often than all others
        together; an element that comes twice is taken once.
        """
        members = [blocks] * (len(others) + 1) if blocks is self._resident.handles else [blocks]
        return beside(self._sc, [*members, *others], self._layout.grid.partitions)

    def _id_type(self, side: int) -> pa.DataType:
        return self._layout.cuts.side(side).starts.type

    def _frame(self, side: int, taken: Any) -> DataFrame:
        """(id, factors, bias, count) of a link's rows, or of a saved model's as they are."""
        if not isinstance(taken, int):
            return taken
        self._read(taken, tasks.lost)
        return rows_frame(self._spark, self._made_by(taken), self._resident.slots[side], self._id_type(side))
