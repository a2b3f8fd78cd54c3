"""What the tasks of routed passes do with the elements of one partition. Executor; see `als.routed`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.als.executor import Work
from recsys_spark.als.messages import Inbox, Kind, Lost, Message, outgoing
from recsys_spark.als.meter import Done
from recsys_spark.als.stages import on_block, open_block
from recsys_spark.als.work import Needs
from recsys_spark.blocks.layout import Block
from recsys_spark.blocks.plan import Layout, Plan
from recsys_spark.blocks.residency import BlockStore, Handle, Miss
from recsys_spark.blocks.routes import Counts, Route, routes_to
from recsys_spark.errors import FitError

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast


class Pass(NamedTuple):
    """What a task has to know of a pass."""

    fit: str
    layout: Layout
    slots: frozenset[int]
    side: int
    task: Work[Any]
    needs: Needs
    fixed: bool
    rank: int


class Wanted(NamedTuple):
    """What is kept with a block, or wanted of another, on its way to the partition where that one lies."""

    partition: int
    slot: int
    content: Route | Counts


def lay_out(records: Iterable[tuple[int, bytes]], fit: str, layout: Layout) -> Iterator[Handle | Wanted]:
    """Leave each (slot, record) as a file on this executor; yields handles, and which rows blocks want of others."""
    store = BlockStore.here(fit)
    for slot, record in records:
        yield store.put(slot, record)
        block = Block.from_buffer(record)
        for source, route in routes_to(slot, block, layout):
            yield Wanted(layout.partition(source), source, route)
        yield Wanted(layout.partition(slot), slot, Counts(block.start, block.ratings.row_weights()))


def wanted(laid: Iterable[Handle | Wanted]) -> Iterator[tuple[int, tuple[int, Route | Counts]]]:
    """What `lay_out` yields beside handles, by partition."""
    return ((w.partition, (w.slot, w.content)) for w in laid if isinstance(w, Wanted))


def measure(elements: Iterable[Any], work: Pass) -> list[Done | Miss | Lost]:
    """The results of a pass that makes no rows."""
    return [result for _, result in _results(Inbox(_without(elements)), work)]


def send(elements: Iterable[Any], work: Pass) -> Iterator[tuple[int, Any]]:
    """Messages by partition; what the driver has to know, to the last one."""
    inbox = Inbox(_without(elements))
    mailbox = work.layout.partitions - 1
    for slot, result in _results(inbox, work):
        if isinstance(result, Miss | Lost):
            yield mailbox, (slot, result)
            continue
        rows, known = result.result
        moved = 0
        for to, message in outgoing(slot, work.side, rows, inbox.routes.get(slot, ())):
            moved += message.rows.nbytes if message.kind != Kind.MINE else 0
            yield work.layout.partition(to), (to, message)
        yield mailbox, (slot, result._replace(result=known, moved=moved))


def _results(inbox: Inbox, work: Pass) -> Iterator[tuple[int, Done | Miss | Lost]]:
    store = BlockStore.here(work.fit)
    for slot, element in inbox.blocks.items():
        if slot not in work.slots:
            continue
        block = open_block(store, element)
        if isinstance(block, Miss):
            yield slot, block
            continue
        began = time.perf_counter()
        view = inbox.view(slot, block, work.needs, work.fixed)
        if isinstance(view, Lost):
            yield slot, view
            continue
        view = view._replace(given=inbox.given(slot, block, work.rank))
        fetched = time.perf_counter() - began
        done = on_block(store, slot, block, work.task, view._replace)
        yield slot, done._replace(view_seconds=fetched)


def only(partition: int, records: Iterable[Any], partitions: frozenset[int]) -> Iterable[Any]:
    """The records of some partitions; those of others are not made."""
    return records if partition in partitions else ()


def lost(elements: Iterable[Any], slots: frozenset[int]) -> list[Lost]:
    """Which of some blocks' rows are not there."""
    inbox = Inbox(elements)
    known = ((slot, c) for slot, c in inbox.counts.items() if slot in slots)
    return [Lost(slot) for slot, (start, counts) in known if len(inbox.mine(slot, start).biases) != len(counts)]


def _without(elements: Iterable[Any]) -> Iterator[Any]:
    return (e for e in elements if not isinstance(e, Wanted))


def mail(elements: Iterable[tuple[int, Any]]) -> list[Any]:
    """What tasks have to say to the driver."""
    return [content for _, (_, content) in elements]


def find_blocks(batches: Iterable[pa.RecordBatch], plan: Broadcast[Plan], side: int) -> Iterator[pa.RecordBatch]:
    """A model's rows by block; those of ids that the plan has not are left out."""
    bounds = plan.value.side(side).bounds
    for batch in batches:
        at = plan.value.side(side).rows(batch.column("id"))
        order = np.argsort(at, kind="stable")
        order = order[at[order] >= 0]
        factors = batch.column("factors").flatten().to_numpy(zero_copy_only=False)
        whole = np.column_stack([factors.reshape(len(at), -1), batch.column("bias").to_numpy()]).astype(np.float32)
        cuts = np.searchsorted(at[order], bounds)
        for block in np.flatnonzero(np.diff(cuts)).tolist():
            taken = order[cuts[block] : cuts[block + 1]]
            places = (at[taken] - bounds[block]).astype(np.int32)
            columns = [[plan.value.slot(side, block)], [places.tobytes()], [whole[taken].tobytes()]]
            types = (pa.int32(), pa.binary(), pa.binary())
            arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=["slot", "places", "rows"])


def give(row: Any, side: int, layout: Layout, rank: int) -> tuple[int, tuple[int, Message]]:
    """A message of rows that `find_blocks` found a block for, by partition."""
    rows = np.frombuffer(row["rows"], np.float32).reshape(-1, rank + 1)
    places = np.frombuffer(row["places"], np.int32)
    slot = row["slot"]
    return layout.partition(slot), (slot, Message(slot, side, Kind.GIVEN, 0, rows, places))


def tables(
    elements: Iterable[Any], slots: frozenset[int], plan: Broadcast[Plan], side: int
) -> Iterator[tuple[bytearray]]:
    """(id, factors, bias, count) of blocks' rows as they are, each block's as one Arrow stream."""
    inbox = Inbox(elements)
    for slot, (start, counts) in inbox.counts.items():
        if slot not in slots:
            continue
        rows = inbox.mine(slot, start)
        if len(rows.biases) != len(counts):
            raise FitError(f"the rows of block {slot} are lost; fit again: it goes on from its last checkpoint")
        ids = plan.value.side(side).ids.slice(start, len(counts))
        offsets = np.arange(len(counts) + 1, dtype=np.int32) * np.int32(rows.factors.shape[1])
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.factors.ravel()))
        batch = pa.RecordBatch.from_arrays(
            [ids, lists, pa.array(rows.biases), pa.array(counts)], names=["id", "factors", "bias", "count"]
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield (bytearray(sink.getvalue()),)


def unpacked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What `tables` packed."""
    for batch in batches:
        for packed in batch.column("rows"):
            yield from pa.ipc.open_stream(packed.as_buffer())
