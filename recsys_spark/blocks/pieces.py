"""Second pass and reduce side of block building, as plain functions over chunks and bytes (executor, or anywhere).

Map: a chunk of ratings goes to the user blocks and the item blocks of its ratings, as one binary piece each.
Reduce: the pieces of a block, in any order, become its record.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.assemble import assemble
from recsys_spark.blocks.chunks import Chunk, Tally, chunks_of
from recsys_spark.blocks.grouped import Grouped
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block, Entries
from recsys_spark.blocks.plan import Plan
from recsys_spark.blocks.wire import pack, unpack
from recsys_spark.errors import DataError
from recsys_spark.features.columns import flat_rows
from recsys_spark.kernels.bucket import counting_order

RATING, FEATURE, HELD_OUT, GRAPH = 0, 1, 2, 3
KINDS = ("rating", "feature", "held_out", "graph")


class Piece(NamedTuple):
    """Some entries of one block, of one kind."""

    slot: int
    kind: int
    grouped: Grouped

    def encode(self) -> bytes:
        """The piece as bytes, in the smallest types that hold it."""
        fields = self.grouped.small()._asdict()
        return pack({"kind": np.array([self.kind, fields.pop("across")], np.int8)} | fields)

    @classmethod
    def decode(cls, slot: int, data: bytes | bytearray) -> Piece:
        """The inverse of `encode`."""
        found = {name: array.to_numpy() for name, array in unpack(data).items()}
        kind, across = found.pop("kind")
        return cls(slot, int(kind), Grouped(**found, across=bool(across)))


def chunk_pieces(chunk: Chunk, plan: Plan) -> Iterator[Piece]:
    """Pieces of both sides' blocks.

    Held-out ratings go to user blocks only; those of a user or item without training ratings or features are left
    out, since no row or factor could answer for them.

    Raises
    ------
    DataError
        A training rating is of an id that the plan has not: the ratings are no longer those that were indexed.
    """
    users, items = plan.user.rows(chunk.users), plan.item.rows(chunk.items)
    lengths, codes, values, weights = chunk.lengths, chunk.codes, chunk.values, chunk.weights
    if not chunk.held_out:
        _check_known(USERS, users)
        _check_known(ITEMS, items)
    elif (users < 0).any() or (items < 0).any():
        owner = np.repeat(np.arange(len(users)), lengths)
        kept = np.flatnonzero((users[owner] >= 0) & (items[codes] >= 0))
        codes, values, weights = codes[kept], values[kept], weights[kept] if weights.size else weights
        lengths = np.bincount(owner[kept], minlength=len(users))[users >= 0]
        users = users[users >= 0]
    users, items = users.astype(np.int32), items.astype(np.int32)
    # Columns stay places in the chunk's dictionaries until blocks are merged: half as many bytes to shuffle.
    by_user = Grouped(users, lengths, codes, chunk.levels, values, weights, items)
    yield from pieces_of(plan, USERS, HELD_OUT if chunk.held_out else RATING, by_user)
    if chunk.held_out:
        return
    yield from _item_pieces(plan, by_user)


def _item_pieces(plan: Plan, by_user: Grouped) -> Iterator[Piece]:
    """The items' pieces of a chunk, its entries still by user: whoever merges them takes them in order of users."""
    bounds, items = plan.item.bounds, by_user.names
    block = (np.searchsorted(bounds, items, side="right") - 1).astype(np.int32)
    order, starts = counting_order(block[by_user.cols], plan.item.n_blocks)
    owner = np.repeat(np.arange(len(by_user.rows), dtype=np.int32), by_user.lengths)
    for b, (first, last) in enumerate(itertools.pairwise(np.searchsorted(items, bounds))):
        mine = order[starts[b] : starts[b + 1]]
        if not len(mine):
            continue
        lengths = np.bincount(owner[mine], minlength=len(by_user.rows))
        weights = by_user.weights[mine] if by_user.weights.size else by_user.weights
        cut = Grouped(
            by_user.rows[lengths > 0],
            lengths[lengths > 0],
            by_user.cols[mine] - by_user.cols.dtype.type(first),
            by_user.levels,
            by_user.values[mine],
            weights,
            items[first:last],
            across=True,
        )
        yield Piece(plan.slot(ITEMS, b), RATING, cut)


def feature_pieces(batches: Iterable[pa.RecordBatch], plan: Plan, side: int) -> Iterator[Piece]:
    """Pieces from batches of feature rows (id, indices, values).

    Raises DataError where the plan has not an id, and as `features.columns.flat_rows`.
    """
    for batch in batches:
        rows = plan.side(side).rows(batch.column("id"))
        _check_known(side, rows)
        lengths, indices, values = flat_rows(batch, SIDE_NAMES[side], plan.side(side).n_features)
        yield from pieces_of(plan, side, FEATURE, Grouped.of(Entries.of(np.repeat(rows, lengths), indices, values)))


def graph_pieces(batches: Iterable[pa.RecordBatch], plan: Plan, side: int) -> Iterator[Piece]:
    """Pieces from batches of edges (i, j, s), both directions given. Raises DataError where the plan has not an id."""
    for batch in batches:
        rows, cols = (plan.side(side).rows(batch.column(name)) for name in ("i", "j"))
        _check_known(side, rows)
        _check_known(side, cols)
        entries = Entries.of(rows, cols, batch.column("s").to_numpy(zero_copy_only=False))
        yield from pieces_of(plan, side, GRAPH, Grouped.of(entries))


def _check_known(side: int, rows: np.ndarray) -> None:
    if (rows < 0).any():
        raise DataError(
            f"{int((rows < 0).sum())} {SIDE_NAMES[side]} ids were not there when the ids were indexed: the data give "
            "other rows each time they are computed; write them to a table, or checkpoint them, and fit to that"
        )


def pieces_of(plan: Plan, side: int, kind: int, grouped: Grouped) -> Iterator[Piece]:
    """Entries of one side and kind, cut by block."""
    for block, part in enumerate(grouped.cut(plan.side(side).bounds)):
        if len(part.cols):
            yield Piece(plan.slot(side, block), kind, part)


def merge_pieces(pieces: Iterable[Piece], plan: Plan, side: int, block: int) -> Block:
    """The block that all of its pieces make, whatever their order."""
    found: dict[int, list[Grouped]] = {kind: [] for kind in range(len(KINDS))}
    for piece in pieces:
        found[piece.kind].append(piece.grouped)
    bounds = plan.side(side).bounds
    return assemble(
        side,
        int(bounds[block]),
        int(bounds[block + 1]),
        found[RATING],
        found[FEATURE],
        found[HELD_OUT],
        plan.side(side).keys(block),
        found[GRAPH],
    )


def build_blocks(
    plan: Plan,
    ratings: Iterable[pa.RecordBatch],
    features: dict[int, pa.Table],
    graphs: dict[int, pa.Table] | None = None,
) -> list[Block]:
    """All blocks in slot order, built in this process (no Spark)."""
    pieces: dict[int, list[Piece]] = {slot: [] for slot in range(plan.n_slots)}
    for batch in ratings:
        for chunk in chunks_of(pa.Table.from_batches([batch]), (Tally(), Tally())):
            for piece in chunk_pieces(chunk, plan):
                pieces[piece.slot].append(piece)
    for side, table in features.items():
        for piece in feature_pieces(table.to_batches(), plan, side):
            pieces[piece.slot].append(piece)
    for side, table in (graphs or {}).items():
        for piece in graph_pieces(table.to_batches(), plan, side):
            pieces[piece.slot].append(piece)
    return [merge_pieces(pieces[slot], plan, side, block) for slot, side, block in plan.slots()]
