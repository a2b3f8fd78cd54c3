"""Executors whose blocks are resident on Spark's: a pass is one stage over one side's blocks. Driver.

Here: what they share, and the one that broadcasts rows. `routed` has the one that shuffles them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from recsys_spark.als.adding import added, by_group, groups_for
from recsys_spark.als.executor import Work
from recsys_spark.als.gathering import Gathering
from recsys_spark.als.keep import FileKeep
from recsys_spark.als.meter import Done, timed
from recsys_spark.als.work import NO_OTHER, NO_OWN, NO_ROWS, Needs, Rows, View
from recsys_spark.blocks.layout import ITEMS, USERS, Block, other
from recsys_spark.blocks.plan import Plan
from recsys_spark.blocks.residency import BlockStore, Handle, Miss, clear_stores, materialise
from recsys_spark.errors import FitError
from recsys_spark.kernels.rows import F32, NO_F32, Other, pad
from recsys_spark.worker import keep_loaded

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext
    from pyspark.core.broadcast import Broadcast


class Published:
    """A side's rows as they are broadcast: factors (n, k) and biases (n,), which are padded where they are used.

    What comes out of a pickle begins anywhere; what `pad` makes begins at a cache line and lies in large pages. The
    Gram's gather is up to a third faster so.
    """

    def __init__(self, factors: F32, biases: F32) -> None:
        self.factors, self.biases = factors, biases

    @cached_property
    def other(self) -> Other:
        """The rows as kernels take them."""
        padded = pad(self.factors)
        self.factors = padded[:, : self.factors.shape[1]]  # one copy is enough
        return Other(padded, self.biases)

    def __reduce__(self) -> tuple[Any, ...]:
        return Published, (self.factors, self.biases)


class BroadcastViews:
    """The executor's half of the broadcast exchange: shipped with a task, opens the broadcasts that it needs."""

    def __init__(
        self,
        rows: dict[int, Broadcast[Published]],
        kept: dict[int, Broadcast[F32]],
        own: dict[int, Broadcast[F32]],
    ) -> None:
        self._rows, self._kept, self._own = rows, kept, own

    def view(self, block: Block, needs: Needs) -> View:
        """See `Exchange.view`."""
        rows = slice(block.start, block.stop)
        kept = self._kept[block.side].value[rows] if block.side in self._kept else NO_F32
        own = self._own[block.side].value if Needs.OWN in needs else NO_OWN
        mine = NO_ROWS
        if Needs.MINE in needs:
            known = self._rows[block.side].value
            mine = Rows(block.start, known.factors[rows].copy(), known.biases[rows])
        across = self._rows[other(block.side)].value.other if Needs.OTHER in needs else NO_OTHER
        return View(across, kept, own=own, own_start=block.start, mine=mine)


class BroadcastExchange:
    """The driver's half: the whole other side goes to every executor, once a half-sweep."""

    def __init__(self, sc: SparkContext) -> None:
        self._sc = sc
        self._rows: dict[int, Broadcast[Published]] = {}
        self._kept: dict[int, Broadcast[F32]] = {}
        self._own: dict[int, Broadcast[F32]] = {}

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """See `Exchange`."""
        self._put(self._rows, side, Published(factors, biases))

    def fix_biases(self, side: int, biases: F32) -> None:
        """See `Exchange`."""
        self._put(self._kept, side, biases)

    def publish_own(self, side: int, own: F32) -> None:
        """See `Exchange`."""
        self._put(self._own, side, own)

    def views(self, side: int, needs: Needs) -> BroadcastViews:
        """What a pass over ``side`` ships."""
        wanted = {other(side)} if Needs.OTHER in needs else set()
        wanted |= {side} if Needs.MINE in needs else set()
        kept = {side: self._kept[side]} if side in self._kept and needs else {}
        own = {side: self._own[side]} if Needs.OWN in needs else {}
        return BroadcastViews({s: self._rows[s] for s in wanted}, kept, own)

    def view(self, block: Block, needs: Needs) -> View:
        """See `Exchange`; on the driver."""
        return self.views(block.side, needs).view(block, needs)

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


class Resident:
    """Blocks in files on executors, and the RDDs that they can be made from again.

    Parameters
    ----------
    sc : SparkContext
    records : RDD of (slot, block)
        As `blocks.build.block_records` gives it: computed once, straight into files; anew where one is missing.
    fit : str
        A name no other fit of the application has: files and RDDs are kept apart by it.
    lay : callable
        Turns (slot, block) into files, and yields their handles.
    """

    def __init__(
        self,
        sc: SparkContext,
        records: RDD[tuple[int, Block]],
        fit: str,
        lay: Callable[..., Iterator[Any]] = materialise,
    ) -> None:
        from pyspark import StorageLevel

        self.fit, self.records, self._sc = fit, records, sc
        made = self.records.mapPartitions(partial(lay, fit=fit), preservesPartitioning=True)
        # Also on disk: a lost handle costs a merge.
        self.handles = made.setName(f"block handles {fit}").persist(StorageLevel.MEMORY_AND_DISK)
        try:
            located = self.handles.mapPartitionsWithIndex(_locate).collect()
        except BaseException:
            self.close()
            raise
        self._partition = {slot: partition for partition, slot, _ in located}
        self.slots = {side: [slot for _, slot, s in located if s == side] for side in {s for _, _, s in located}}

    def run(
        self, rdd: RDD[Any], task: Callable[[Iterable[Any]], Iterable[Any]], slots: Sequence[int], each: int = 0
    ) -> list[Any]:
        """``task`` over the partitions of some slots; ``each`` as in `Executor.run`."""
        groups, wanted = groups_for(len(slots), each), self.partitions(slots)
        if not groups:
            return self._sc.runJob(rdd, task, wanted)
        grouped = rdd.mapPartitionsWithIndex(partial(by_group, task=task, partitions=frozenset(wanted), groups=groups))
        sums = grouped.partitionBy(groups, int)
        try:
            return sums.mapPartitions(added).collect()
        finally:
            remove_shuffle(self._sc, sums)

    def partitions(self, slots: Iterable[int]) -> list[int]:
        """Where blocks are."""
        return sorted({self._partition[slot] for slot in slots})

    def close(self) -> None:
        """Remove files and RDDs. Files on executors that are gone went with them."""
        try:
            clear_stores(self.handles, self.fit)
        finally:
            self.handles.unpersist()


class Stages(Gathering):
    """Rows go from the driver to blocks as broadcasts. Parameters as `Resident`'s, and the blocks' plan."""

    exchange: BroadcastExchange

    def __init__(self, sc: SparkContext, plan: Plan, records: RDD[tuple[int, Block]], fit: str) -> None:
        super().__init__(plan, BroadcastExchange(sc))
        self._sc = sc
        self._resident = Resident(sc, records, fit)

    @property
    def at_a_time(self) -> int:
        """Spark's own estimate of the cores there are."""
        return self._sc.defaultParallelism

    def run(self, side: int, task: Work[Any], needs: Needs, each: int = 0) -> list[Done]:
        """See `Executor`. One stage; blocks whose file is missing are rerun from their records in another."""
        view = partial(self.exchange.views(side, needs).view, needs=needs)
        return self._run(self._resident.slots[side], task, view, each)

    def run_both(self, task: Work[Any]) -> list[list[Done]]:
        """See `Executor`; one stage."""
        slots = [slot for side in (USERS, ITEMS) for slot in self._resident.slots[side]]
        found = self._run(slots, task, _no_view)
        return [[done for done in found if done.side == side] for side in (USERS, ITEMS)]

    def _run(self, slots: Sequence[int], task: Work[Any], view: Callable[[Block], View], each: int = 0) -> list[Any]:
        resident, results = self._resident, []
        for blocks in (resident.handles, resident.records):
            pass_over = partial(_pass, fit=resident.fit, slots=frozenset(slots), task=task, view=view)
            found = resident.run(blocks, pass_over, slots, each)
            results += [r for r in found if not isinstance(r, Miss)]
            slots = [r.slot for r in found if isinstance(r, Miss)]
            if not slots:
                break
        return results

    def close(self) -> None:
        """See `Executor`."""
        try:
            self._resident.close()
        finally:
            self.exchange.close()


def remove_shuffle(sc: SparkContext, shuffled: RDD[Any]) -> None:
    """Delete the files of a shuffle, as pyspark.ml.ALS does: Spark would wait for the driver's garbage collector."""
    cleaner = sc._jsc.sc().cleaner()
    if cleaner.isDefined():
        rows = shuffled._jrdd.rdd().dependencies().head().rdd()
        cleaner.get().doCleanupShuffle(rows.dependencies().head().shuffleId(), False)


def _locate(partition: int, handles: Iterable[Any]) -> Iterator[tuple[int, int, int]]:
    return ((partition, h.slot, h.side) for h in handles if isinstance(h, Handle))


def _no_view(block: Block) -> View:
    return View()


def _pass(
    elements: Iterable[Handle | tuple[int, Block]],
    fit: str,
    slots: frozenset[int],
    task: Work[Any],
    view: Callable[[Block], View],
) -> list[Done | Miss]:
    store = BlockStore.here(fit)
    results: list[Done | Miss] = []
    for element in elements:
        if element[0] in slots:
            block = open_block(store, element)
            if isinstance(block, Miss):
                results.append(block)
            else:
                results.append(on_block(store, element[0], block, task, partial(view, block)))
    return results


def open_block(store: BlockStore, element: Handle | tuple[int, Block]) -> Block | Miss:
    """The block of a handle, or of a (slot, block), whose file is written where it is missing. Executor."""
    if isinstance(element, Handle):
        return store.open(element)
    slot, block = element
    opened = store.open(store.put(slot, block))
    if isinstance(opened, Miss):
        raise FitError(f"block {slot} vanished from {store.directory} as soon as it was written: is its disk full?")
    return opened


def on_block(store: BlockStore, slot: int, block: Block, task: Work[Any], view: Callable[[], View]) -> Done:
    """A task's result, timed; passes may keep files beside the block's. Executor."""
    keep = FileKeep(store.directory, slot)
    done = timed(task, block, lambda: view()._replace(keep=keep))
    keep_loaded(getattr(task, "func", task).__qualname__)
    return done
