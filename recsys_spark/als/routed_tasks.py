"""What the tasks of routed passes do with the elements of one partition. Executor; see `als.routed`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsys_spark.als.executor import Work
from recsys_spark.als.messages import Inbox, Kind, Lost, outgoing
from recsys_spark.als.meter import Done
from recsys_spark.als.shared import Part
from recsys_spark.als.stages import on_block, open_block
from recsys_spark.als.work import Needs
from recsys_spark.blocks.layout import Block, other
from recsys_spark.blocks.plan import Layout
from recsys_spark.blocks.residency import BlockStore, Handle, Miss
from recsys_spark.blocks.routes import Index, Route, routes_to
from recsys_spark.kernels.rows import F32

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
    shared: Broadcast[F32] | None = None  # all rows of the other side, where they are needed and not routed


class Wanted(NamedTuple):
    """What is kept with a block, or wanted of another, on its way to the partition where that one lies."""

    partition: int
    slot: int
    content: Route | Index


def lay_out(
    records: Iterable[tuple[int, Block]], fit: str, layout: Layout, shared: int | None
) -> Iterator[Handle | Wanted]:
    """Leave each (slot, block) as a file on this executor; yields handles, and which rows blocks want of others.

    Rows of the ``shared`` side are not wanted of its blocks by those of the other.
    """
    store = BlockStore.here(fit)
    for slot, block in records:
        yield store.put(slot, block)
        for source, route in routes_to(slot, block, layout):
            if not (route.across and other(block.side) == shared):
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
        view = inbox.view(slot, block, work.needs, work.fixed, None if work.shared is None else work.shared.value)
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


def parts(elements: Iterable[Any], slots: frozenset[int]) -> list[Part | Lost]:
    """Some blocks' rows as they are."""
    inbox = Inbox(elements)
    found: list[Part | Lost] = []
    for slot, index in inbox.indexes.items():
        if slot in slots:
            rows = inbox.rows(slot, Kind.MINE)
            found.append(Part(index.start, rows) if len(rows) == len(index.counts) else Lost(slot))
    return found


def lost(elements: Iterable[Any], slots: frozenset[int]) -> list[Lost]:
    """Which of some blocks' rows are not there."""
    return [found for found in parts(elements, slots) if isinstance(found, Lost)]


def id_of(elements: Iterable[Any], slot: int, row: int) -> list[Any]:
    """The id of a row of a block."""
    return [found.ids[row - found.start].as_py() for at, found in Inbox(elements).indexes.items() if at == slot]


def _without(elements: Iterable[Any]) -> Iterator[Any]:
    return (e for e in elements if not isinstance(e, Wanted))


def mail(elements: Iterable[tuple[int, Any]]) -> list[Any]:
    """What tasks have to say to the driver."""
    return [content for _, (_, content) in elements]
