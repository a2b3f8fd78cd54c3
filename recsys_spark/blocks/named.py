"""Where no process knows all ids: blocks find out their rows from their pieces, and ask one another for the numbers of
rows that they refer to. Plain functions over the elements of one partition; executor.

    pieces of a block ─┬─ names ──▶ its own ids: the sorted ids of all pieces; row i is the i-th, from the block's start
                       └─────────▶ what it asks: ids that it refers to, the blocks between whose cuts they lie
    a block that is asked ─ answers ──▶ their row numbers, -1 where it has not the id (of a held-out rating)
    pieces, own ids and answers ─ merge_named ──▶ the block, of row numbers like any other
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.chunks import dictionary
from recsys_spark.blocks.grouped import Grouped
from recsys_spark.blocks.layout import Block, Entries, other
from recsys_spark.blocks.partition import lookup
from recsys_spark.blocks.pieces import FEATURE, GRAPH, HELD_OUT, Piece, check_known, merge_pieces
from recsys_spark.blocks.plan import Cuts, Layout, SideCuts
from recsys_spark.blocks.wire import decode_values, pack, unpack
from recsys_spark.kernels.rows import I32


class Own(NamedTuple):
    """The ids of a block's rows."""

    slot: int
    rows: int
    packed: bytes

    @property
    def ids(self) -> pa.Array:
        """The ids, (rows,) sorted."""
        return unpack(self.packed)["ids"]


class Ask(NamedTuple):
    """Ids of a side that a block refers to, as far as they lie in one block of that side."""

    slot: int  # who asks
    side: int
    source: int  # slot of the block that is asked
    packed: bytes

    @property
    def ids(self) -> pa.Array:
        """The ids, sorted."""
        return unpack(self.packed)["ids"]


class Answer(NamedTuple):
    """Row numbers of the ids of an `Ask`, -1 where there is no such row."""

    slot: int
    side: int
    source: int
    numbers: I32


def names(slot: int, side: int, pieces: Iterable[Piece], cuts: Cuts) -> Iterator[Own | Ask]:
    """What is known of a block from its pieces, before their entries are looked at."""
    own: list[pa.Array] = []
    refers: dict[int, list[pa.Array]] = {}
    for piece in pieces:
        assert piece.own is not None
        if piece.kind != HELD_OUT:
            own.append(piece.own)
        if piece.others is not None:
            refers.setdefault(side if piece.kind == GRAPH else other(side), []).append(piece.others)
    ids = _together(own, cuts.side(side))
    yield Own(slot, len(ids), pack({"ids": ids}))
    for across, lists in refers.items():
        wanted = _together(lists, cuts.side(across))
        edges = cuts.side(across).edges(wanted)
        for block in np.flatnonzero(np.diff(edges)).tolist():
            part = wanted.slice(edges[block], edges[block + 1] - edges[block])
            yield Ask(slot, across, cuts.grid.slot(across, block), pack({"ids": part}))


def _together(lists: Sequence[pa.Array], cuts: SideCuts) -> pa.Array:
    """The ids of all lists, sorted, each once."""
    return dictionary(pa.concat_arrays(lists))[0] if lists else pa.array([], cuts.starts.type)


def answers(owned: Iterable[Own], asked: Iterable[Ask], layout: Layout) -> Iterator[Answer]:
    """What the blocks of a partition have to say to those who ask."""
    known = {own.slot: own.ids for own in owned}
    for ask in asked:
        start = int(layout.bounds[ask.side][layout.grid.block(ask.source)])
        places = lookup(known[ask.source], ask.ids)
        yield Answer(ask.slot, ask.side, ask.source, np.where(places < 0, -1, places + start).astype(np.int32))


class Known(NamedTuple):
    """All that a block has to know of ids."""

    own: pa.Array  # ids of its rows
    wanted: dict[int, tuple[pa.Array, I32]]  # by side, sorted ids that it refers to, and their row numbers

    @classmethod
    def of(cls, own: Own, asked: Iterable[Ask], answered: Iterable[Answer]) -> Known:
        """From its elements, in any order."""
        numbers = {(a.side, a.source): a.numbers for a in answered}
        found: dict[int, list[tuple[pa.Array, I32]]] = {}
        for ask in sorted(asked, key=lambda a: (a.side, a.source)):
            found.setdefault(ask.side, []).append((ask.ids, numbers[ask.side, ask.source]))
        return cls(
            own.ids,
            {
                side: (pa.concat_arrays([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts]))
                for side, parts in found.items()
            },
        )

    def numbers(self, side: int, ids: pa.Array) -> np.ndarray:
        """Row numbers of ids of a side that the block refers to."""
        if not len(ids):
            return np.empty(0, np.int32)
        wanted, rows = self.wanted[side]
        places = lookup(wanted, ids)
        check_known(side, places)
        return rows[places]


def merge_named(pieces: Iterable[Piece], known: Known, side: int, start: int) -> Block:
    """The block, localised, of rows ``start``, …, from all of its pieces. Raises DataError as `pieces.chunk_pieces`."""
    plain = (_plain(piece, known, side, start) for piece in pieces)
    return merge_pieces(plain, side, start, known.own).localised(known.own)


def _plain(piece: Piece, known: Known, side: int, start: int) -> Piece:
    """The piece with row numbers for ids; held-out ratings without those that no row or factor could answer for."""
    assert piece.own is not None
    places = lookup(known.own, piece.own)
    rows = np.where(places < 0, -1, places + start).astype(np.int32)
    if piece.kind == FEATURE:
        check_known(side, rows)
        return piece._replace(grouped=piece.grouped._replace(rows=rows), own=None)
    across = side if piece.kind == GRAPH else other(side)
    cols = known.numbers(across, piece.others).astype(np.int32)
    grouped = piece.grouped
    if piece.kind == HELD_OUT:
        return piece._replace(grouped=_answerable(grouped, rows, cols), own=None, others=None)
    check_known(side, rows)
    check_known(across, cols)
    mine, names = (cols, rows) if grouped.across else (rows, cols)
    return piece._replace(grouped=grouped._replace(rows=mine, names=names), own=None, others=None)


def _answerable(grouped: Grouped, rows: I32, cols: I32) -> Grouped:
    owner, seen = np.repeat(rows, grouped.lengths), cols[grouped.cols]
    kept = np.flatnonzero((owner >= 0) & (seen >= 0))
    values = decode_values(grouped.levels, grouped.values)[kept]
    weights = grouped.weights[kept] if grouped.weights.size else None
    return Grouped.of(Entries.of(owner[kept], seen[kept], values, weights))
