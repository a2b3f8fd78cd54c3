"""What the tasks of routed passes do with the elements of one partition. Executor; see `als.routed`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.als.executor import Work
from recsys_spark.als.messages import Inbox, Kind, Lost, Message, outgoing
from recsys_spark.als.meter import Done
from recsys_spark.als.stages import on_block, open_block
from recsys_spark.als.work import Needs
from recsys_spark.blocks.layout import Block
from recsys_spark.blocks.plan import Layout
from recsys_spark.blocks.residency import BlockStore, Handle, Miss
from recsys_spark.blocks.routes import Index, Route, routes_to
from recsys_spark.blocks.wire import pack
from recsys_spark.errors import FitError


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
    content: Route | Index


def lay_out(records: Iterable[tuple[int, Block]], fit: str, layout: Layout) -> Iterator[Handle | Wanted]:
    """Leave each (slot, block) as a file on this executor; yields handles, and which rows blocks want of others."""
    store = BlockStore.here(fit)
    for slot, block in records:
        yield store.put(slot, block)
        for source, route in routes_to(slot, block, layout):
            yield Wanted(layout.grid.partition(source), source, route)
        # Copies: the block's memory is not to be held by what is kept of it.
        index = Index(block.start, np.array(block.packed_ids), block.ratings.row_weights())
        yield Wanted(layout.grid.partition(slot), slot, index)


def wanted(laid: Iterable[Handle | Wanted]) -> Iterator[tuple[int, tuple[int, Route | Index]]]:
    """What `lay_out` yields beside handles, by partition."""
    return ((w.partition, (w.slot, w.content)) for w in laid if isinstance(w, Wanted))


def measure(elements: Iterable[Any], work: Pass) -> list[Done | Miss | Lost]:
    """The results of a pass that makes no rows."""
    return [result for _, result in _results(Inbox(_without(elements)), work)]


def send(elements: Iterable[Any], work: Pass) -> Iterator[tuple[int, Any]]:
    """Messages by partition; what the driver has to know, to the last one."""
    inbox = Inbox(_without(elements))
    mailbox = work.layout.grid.partitions - 1
    for slot, result in _results(inbox, work):
        if isinstance(result, Miss | Lost):
            yield mailbox, (slot, result)
            continue
        rows, known = result.result
        moved = 0
        for to, message in outgoing(slot, work.side, rows, inbox.routes.get(slot, ())):
            moved += message.rows.nbytes if message.kind != Kind.MINE else 0
            yield work.layout.grid.partition(to), (to, message)
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
    known = ((slot, index) for slot, index in inbox.indexes.items() if slot in slots)
    return [Lost(slot) for slot, i in known if len(inbox.mine(slot, i.start).biases) != len(i.counts)]


def id_of(elements: Iterable[Any], slot: int, row: int) -> list[Any]:
    """The id of a row of a block."""
    return [found.ids[row - found.start].as_py() for at, found in Inbox(elements).indexes.items() if at == slot]


def _without(elements: Iterable[Any]) -> Iterator[Any]:
    return (e for e in elements if not isinstance(e, Wanted))


def mail(elements: Iterable[tuple[int, Any]]) -> list[Any]:
    """What tasks have to say to the driver."""
    return [content for _, (_, content) in elements]


def find_blocks(batches: Iterable[pa.RecordBatch], layout: Layout, side: int) -> Iterator[pa.RecordBatch]:
    """A model's rows by the block between whose cuts their ids lie; it may not have them."""
    for batch in batches:
        batch = batch.sort_by("id")
        ids = batch.column("id")
        factors = batch.column("factors").flatten().to_numpy(zero_copy_only=False)
        whole = np.column_stack([factors.reshape(len(ids), -1), batch.column("bias").to_numpy()]).astype(np.float32)
        edges = layout.cuts.side(side).edges(ids)
        for block in np.flatnonzero(np.diff(edges)).tolist():
            first, last = edges[block : block + 2].tolist()
            packed = pack({"ids": ids.slice(first, last - first)})
            columns = [[layout.grid.slot(side, block)], [packed], [whole[first:last].tobytes()]]
            types = (pa.int32(), pa.binary(), pa.binary())
            arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=["slot", "ids", "rows"])


def give(row: Any, side: int, layout: Layout, rank: int) -> tuple[int, tuple[int, Message]]:
    """A message of rows that `find_blocks` found a block for, by partition."""
    rows = np.frombuffer(row["rows"], np.float32).reshape(-1, rank + 1)
    slot = row["slot"]
    return layout.grid.partition(slot), (slot, Message(slot, side, Kind.GIVEN, 0, rows, bytes(row["ids"])))


def tables(elements: Iterable[Any], slots: frozenset[int]) -> Iterator[tuple[bytearray]]:
    """(id, factors, bias, count) of blocks' rows as they are, each block's as one Arrow stream."""
    inbox = Inbox(elements)
    for slot, index in inbox.indexes.items():
        if slot not in slots:
            continue
        counts, rows = index.counts, inbox.mine(slot, index.start)
        if len(rows.biases) != len(counts):
            raise FitError(f"the rows of block {slot} are lost; fit again: it goes on from its last checkpoint")
        offsets = np.arange(len(counts) + 1, dtype=np.int32) * np.int32(rows.factors.shape[1])
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.factors.ravel()))
        batch = pa.RecordBatch.from_arrays(
            [index.ids, lists, pa.array(rows.biases), pa.array(counts)], names=["id", "factors", "bias", "count"]
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
