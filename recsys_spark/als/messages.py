"""What blocks send one another where rows are routed, and how a block's view is made of it. Executor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from recsys_spark.als.work import NO_OWN, NO_ROWS, Needs, Rows, View
from recsys_spark.blocks.layout import Block
from recsys_spark.blocks.partition import lookup
from recsys_spark.blocks.residency import Handle
from recsys_spark.blocks.routes import Index, Route
from recsys_spark.blocks.wire import unpack
from recsys_spark.kernels.rows import F32, NO_F32, Other, pad


class Kind(Enum):
    """What rows are for."""

    ACROSS = 0  # rows of the other side that the block refers to
    OWN = 1  # what features leave over of rows of its own side that it refers to
    MINE = 2  # its own rows
    GIVEN = 3  # some of its own rows, out of a model


class Message(NamedTuple):
    """Rows from one block to another."""

    slot: int  # whom they are for
    side: int  # the side of that block
    kind: Kind
    source: int  # number of the first row of the block that they come from
    rows: F32  # (m, k + 1) factors and biases
    packed_ids: bytes = b""  # of given rows


class Lost(NamedTuple):
    """A block that did not get all rows that it refers to: one that had them was not there."""

    slot: int


class Inbox:
    """All that one partition holds, sorted out."""

    def __init__(self, elements: Iterable[Any]) -> None:
        self.blocks: dict[int, Handle | tuple[int, Block]] = {}
        self.routes: dict[int, list[Route]] = {}
        self.indexes: dict[int, Index] = {}
        self._messages: dict[tuple[int, Kind], list[Message]] = {}
        for element in elements:
            if isinstance(element, Handle):
                self.blocks.setdefault(element.slot, element)
                continue
            if isinstance(element[1], Block):  # its handle missed
                self.blocks[element[0]] = element
                continue
            _, (slot, content) = element
            if isinstance(content, Message):
                self._messages.setdefault((slot, content.kind), []).append(content)
            elif isinstance(content, Route):
                self.routes.setdefault(slot, []).append(content)
            elif isinstance(content, Index):
                self.indexes[slot] = content

    def rows(self, slot: int, kind: Kind) -> F32:
        """Rows of a kind for a block, ordered by where they come from."""
        parts = sorted(self._messages.get((slot, kind), ()), key=lambda m: m.source)
        return np.concatenate([p.rows for p in parts]) if parts else NO_OWN

    def mine(self, slot: int, start: int) -> Rows:
        """The block's rows as they are."""
        return _rows(start, self.rows(slot, Kind.MINE))

    def given(self, slot: int, block: Block, rank: int) -> Rows:
        """The block's rows out of a model, zero where it gives none."""
        whole = np.zeros((block.n_rows, rank + 1), np.float32)
        for part in self._messages.get((slot, Kind.GIVEN), ()):
            places = lookup(block.ids, unpack(part.packed_ids)["ids"])
            whole[places[places >= 0]] = part.rows[places >= 0]
        return _rows(block.start, whole)

    def view(self, slot: int, block: Block, needs: Needs, fixed: bool, shared: F32 | None = None) -> View | Lost:
        """What the block needs.

        Parameters
        ----------
        fixed : whether its biases are
        shared : all rows of the other side, where they are not routed
        """
        view = View()
        if Needs.OTHER in needs:
            assert block.refers is not None
            across = self.rows(slot, Kind.ACROSS) if shared is None else shared[block.refers]
            if len(across) != len(block.refers):
                return Lost(slot)
            view = view._replace(other=_other(across))
        if Needs.OWN in needs:
            own = self.rows(slot, Kind.OWN)
            assert block.neighbours is not None
            if len(own) != len(block.neighbours):
                return Lost(slot)
            view = view._replace(own=own, own_start=int(np.searchsorted(block.neighbours, block.start)))
        if Needs.MINE in needs or fixed:
            mine = self.mine(slot, block.start)
            if len(mine.biases) != block.n_rows:
                return Lost(slot)
            view = view._replace(mine=mine, kept=mine.biases if fixed else NO_F32)
        return view


def outgoing(slot: int, side: int, rows: Rows, routes: Iterable[Route]) -> Iterator[tuple[int, Message]]:
    """(slot, message) for every block that refers to the rows, and for the block itself."""
    whole = np.column_stack([rows.factors, rows.biases])
    yield slot, Message(slot, side, Kind.MINE, rows.start, whole)
    for route in routes:
        if route.across:
            yield route.slot, Message(route.slot, 1 - side, Kind.ACROSS, rows.start, whole[route.rows])
        elif rows.own.shape[1]:
            yield route.slot, Message(route.slot, side, Kind.OWN, rows.start, rows.own[route.rows])


def _rows(start: int, whole: F32) -> Rows:
    if not whole.shape[1]:
        return NO_ROWS
    return Rows(start, np.ascontiguousarray(whole[:, :-1]), np.ascontiguousarray(whole[:, -1]))


def _other(whole: F32) -> Other:
    rows = _rows(0, whole)
    return Other(pad(rows.factors), rows.biases)
