"""The executor over Spark stages: each pass is one stage over one side's resident blocks, factors broadcast. Driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from recsys_spark.als.executor import Executor, Work
from recsys_spark.als.keep import FileKeep
from recsys_spark.als.meter import Done, timed
from recsys_spark.als.work import NO_OWN, View
from recsys_spark.blocks.layout import Block, other
from recsys_spark.blocks.plan import Plan
from recsys_spark.blocks.residency import BlockStore, Handle, Miss, clear_store, materialise
from recsys_spark.errors import FitError
from recsys_spark.kernels.rows import F32, NO_F32, Other, pad

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext
    from pyspark.core.broadcast import Broadcast


class BroadcastViews:
    """The executor's half of the broadcast exchange: shipped with a task, opens the broadcasts that it needs."""

    def __init__(
        self, rows: dict[int, Broadcast[Other]], kept: dict[int, Broadcast[F32]], own: dict[int, Broadcast[F32]]
    ) -> None:
        self._rows, self._kept, self._own = rows, kept, own

    def view(self, block: Block) -> View:
        """See `Exchange.view`."""
        kept = self._kept[block.side].value[block.start : block.stop] if block.side in self._kept else NO_F32
        own = self._own[block.side].value if block.side in self._own else NO_OWN
        return View(self._rows[other(block.side)].value, kept, own=own)


class BroadcastExchange:
    """The driver's half: the whole other side goes to every executor, once a half-sweep."""

    def __init__(self, sc: SparkContext) -> None:
        self._sc = sc
        self._rows: dict[int, Broadcast[Other]] = {}
        self._kept: dict[int, Broadcast[F32]] = {}
        self._own: dict[int, Broadcast[F32]] = {}

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """See `Exchange`."""
        self._put(self._rows, side, Other(pad(factors), biases))

    def fix_biases(self, side: int, biases: F32) -> None:
        """See `Exchange`."""
        self._put(self._kept, side, biases)

    def publish_own(self, side: int, own: F32) -> None:
        """See `Exchange`."""
        self._put(self._own, side, own)

    def views(self, side: int) -> BroadcastViews:
        """What a pass over ``side`` ships."""
        needed = other(side)
        kept, own = ({side: known[side]} if side in known else {} for known in (self._kept, self._own))
        return BroadcastViews({needed: self._rows[needed]}, kept, own)

    def view(self, block: Block) -> View:
        """See `Exchange`; on the driver."""
        return self.views(block.side).view(block)

    def close(self) -> None:
        """Destroy every broadcast."""
        for shared in (self._rows, self._kept, self._own):
            for held in shared.values():
                held.destroy()
            shared.clear()

    def _put(self, shared: dict[int, Broadcast[Any]], side: int, value: Any) -> None:
        """Share a value; the side's last broadcast is destroyed: passes are eager, nothing refers to it any more."""
        old = shared.get(side)
        shared[side] = self._sc.broadcast(value)
        if old is not None:
            old.destroy()


class Stages(Executor):
    """Blocks resident on executors.

    Parameters
    ----------
    sc : SparkContext
    plan : Plan
    records : RDD of (slot, record)
        As `blocks.build.block_records` gives it: computed once, straight into files; anew where one is missing.
    fit : str
        A name no other fit of the application has: files and RDDs are kept apart by it.
    """

    exchange: BroadcastExchange

    def __init__(self, sc: SparkContext, plan: Plan, records: RDD[tuple[int, bytes]], fit: str) -> None:
        from pyspark import StorageLevel

        super().__init__(plan, BroadcastExchange(sc))
        self._sc, self._fit = sc, fit
        self._records = records
        self._handles = self._records.mapPartitions(partial(materialise, fit=fit)).setName(f"block handles {fit}")
        self._handles.persist(StorageLevel.MEMORY_AND_DISK)  # a lost handle costs a merge
        try:
            located = self._handles.mapPartitionsWithIndex(_locate).collect()
        except BaseException:
            self.close()
            raise
        self._partition = {slot: partition for partition, slot, _ in located}
        self._slots = {side: [slot for _, slot, s in located if s == side] for side in {s for _, _, s in located}}

    @property
    def at_a_time(self) -> int:
        """Spark's own estimate of the cores there are."""
        return self._sc.defaultParallelism

    def run(self, side: int, task: Work[Any], *, views: bool) -> list[Done]:
        """See `Executor`. One stage; blocks whose file is missing are rerun from their records in another."""
        shipped = self.exchange.views(side) if views else None
        results: list[Any] = self._run(self._handles, partial(_on_handles, self._fit, task, shipped), self._slots[side])
        missed = [r.slot for r in results if isinstance(r, Miss)]
        if missed:
            results = [r for r in results if not isinstance(r, Miss)]
            results += self._run(self._records, partial(_on_records, self._fit, task, shipped), missed)
        return results

    def close(self) -> None:
        """See `Executor`. Files on executors that are gone went with them."""
        try:
            self._handles.mapPartitions(partial(clear_store, fit=self._fit)).count()
        finally:
            self.exchange.close()
            self._handles.unpersist()

    def _run(self, rdd: RDD[Any], f: Callable[[Iterable[Any]], Iterable[Any]], slots: list[int]) -> list[Any]:
        partitions = sorted({self._partition[slot] for slot in slots})
        wanted = frozenset(slots)
        return self._sc.runJob(rdd, partial(_only, wanted, f), partitions)


def _locate(partition: int, handles: Iterable[Handle]) -> Iterator[tuple[int, int, int]]:
    return ((partition, h.slot, h.side) for h in handles)


def _only(slots: frozenset[int], f: Callable[[Iterable[Any]], Iterable[Any]], elements: Iterable[Any]) -> list[Any]:
    return list(f(e for e in elements if e[0] in slots))


def _on_handles(
    fit: str, task: Work[Any], shipped: BroadcastViews | None, handles: Iterable[Handle]
) -> Iterator[Done | Miss]:
    store = BlockStore.here(fit)
    for handle in handles:
        block = store.open(handle)
        yield block if isinstance(block, Miss) else _on_block(store, handle.slot, block, task, shipped)


def _on_records(
    fit: str, task: Work[Any], shipped: BroadcastViews | None, records: Iterable[tuple[int, bytes]]
) -> Iterator[Done]:
    store = BlockStore.here(fit)
    for slot, record in records:
        block = store.open(store.put(slot, record))
        if isinstance(block, Miss):
            raise FitError(f"block {slot} vanished from {store.directory} as soon as it was written: is its disk full?")
        yield _on_block(store, slot, block, task, shipped)


def _on_block(store: BlockStore, slot: int, block: Block, task: Work[Any], shipped: BroadcastViews | None) -> Done:
    keep = FileKeep(store.directory, slot)
    return timed(task, block, (lambda: shipped.view(block)._replace(keep=keep)) if shipped else None)
