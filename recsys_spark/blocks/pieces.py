"""Second pass and reduce side of block building, as plain functions over chunks and bytes (executor, or anywhere).

Map: a chunk of ratings goes to the user blocks and the item blocks of its ratings, as one binary piece each.
Reduce: the pieces of a block, in any order, become its record.

With a plan of all ids, pieces hold row numbers. With cuts alone they hold places in lists of ids of their own, until
their block knows its rows (`blocks.named`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.assemble import assemble
from recsys_spark.blocks.chunks import Chunk, Tally, chunks_of, dictionary
from recsys_spark.blocks.grouped import NO_NAMES, Grouped
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block, Entries
from recsys_spark.blocks.plan import Cuts, Plan
from recsys_spark.blocks.wire import pack, unpack
from recsys_spark.errors import DataError
from recsys_spark.features.columns import flat_rows
from recsys_spark.kernels.bucket import numbered
from recsys_spark.kernels.coding import split_columns
from recsys_spark.kernels.start import keys_of

RATING, FEATURE, HELD_OUT, GRAPH = 0, 1, 2, 3
KINDS = ("rating", "feature", "held_out", "graph")

Index: TypeAlias = Plan | Cuts


class Piece(NamedTuple):
    """Some entries of one block, of one kind."""

    slot: int
    kind: int
    grouped: Grouped
    own: pa.Array | None = None  # ids of the block's side that its numbers are places in, sorted; None: row numbers
    others: pa.Array | None = None  # likewise, ids that its columns number, if they are rows

    def encode(self) -> bytes:
        """The piece as bytes, in the smallest types that hold it."""
        fields = self.grouped.small()._asdict()
        ids = {name: ids for name in _IDS if (ids := getattr(self, name)) is not None}
        return pack({"kind": np.array([self.kind, fields.pop("across")], np.int8)} | fields | ids)

    @classmethod
    def decode(cls, slot: int, data: bytes | bytearray) -> Piece:
        """The inverse of `encode`."""
        arrays = unpack(data)
        ids = {name: arrays.pop(name, None) for name in _IDS}
        found = {name: array.to_numpy() for name, array in arrays.items()}
        kind, across = found.pop("kind")
        return cls(slot, int(kind), Grouped(**found, across=bool(across)), **ids)

    def named(self, own: pa.Array, others: pa.Array | None) -> Piece:
        """Of a piece whose numbers are places in lists of ids: with those of the ids that it has to do with."""
        grouped = self.grouped
        mine = grouped.names if grouped.across else grouped.rows  # without gaps
        own = own.slice(int(mine[0]), len(mine))
        places = np.arange(len(grouped.rows), dtype=np.int32)
        if others is None:
            return self._replace(grouped=grouped._replace(rows=places), own=own)
        if grouped.across:
            seen, cols = grouped.rows, grouped.cols
        else:
            seen, cols = numbered(grouped.cols.astype(np.int32, copy=False))
        grouped = grouped._replace(rows=places, cols=cols, names=NO_NAMES)
        return self._replace(grouped=grouped, own=own, others=others.take(pa.array(seen)))


_IDS = ("own", "others")


def chunk_pieces(chunk: Chunk, plan: Index, slot: int | None = None) -> Iterator[Piece]:
    """Pieces of both sides' blocks, or of the block of one ``slot`` alone.

    Held-out ratings go to user blocks only; those of a user or item without training ratings or features are left
    out, since no row or factor could answer for them; here, or with cuts alone when the block is merged.

    Raises
    ------
    DataError
        A training rating is of an id that the plan has not: the ratings are no longer those that were indexed.
    """
    users, user_bounds = plan.user.number(chunk.users)
    items, item_bounds = plan.item.number(chunk.items)
    lengths, codes, values, weights = chunk.lengths, chunk.codes, chunk.values, chunk.weights
    if not chunk.held_out:
        check_known(USERS, users)
        check_known(ITEMS, items)
    elif (users < 0).any() or (items < 0).any():
        owner = np.repeat(np.arange(len(users)), lengths)
        kept = np.flatnonzero((users[owner] >= 0) & (items[codes] >= 0))
        codes, values, weights = codes[kept], values[kept], weights[kept] if weights.size else weights
        lengths = np.bincount(owner[kept], minlength=len(users))[users >= 0]
        users = users[users >= 0]
    users, items = users.astype(np.int32), items.astype(np.int32)
    # Columns stay places in the chunk's dictionaries until blocks are merged: half as many bytes to shuffle.
    by_user = Grouped(users, lengths, codes, chunk.levels, values, weights, items)
    kind = HELD_OUT if chunk.held_out else RATING
    side, only = (None, None) if slot is None else (plan.grid.side(slot), plan.grid.block(slot))
    if side != ITEMS:
        yield from _told(_pieces_of(plan, USERS, kind, by_user, user_bounds, only), plan, chunk.users, chunk.items)
    if side != USERS and not chunk.held_out:
        yield from _told(_item_pieces(plan, by_user, item_bounds, only), plan, chunk.items, chunk.users)


def _bounds_of(bounds: np.ndarray, only: int | None) -> tuple[int, np.ndarray]:
    """The first block that is wanted, and the bounds of those that are: all of them, or ``only`` one."""
    return (0, bounds) if only is None else (only, bounds[only : only + 2])


def _told(pieces: Iterable[Piece], plan: Index, own: pa.Array, others: pa.Array | None) -> Iterator[Piece]:
    """Pieces with the ids that their numbers stand for, where nobody else knows."""
    return (piece.named(own, others) if isinstance(plan, Cuts) else piece for piece in pieces)


def _item_pieces(plan: Index, by_user: Grouped, bounds: np.ndarray, only: int | None) -> Iterator[Piece]:
    """The items' pieces of a chunk, its entries still by user: whoever merges them takes them in order of users."""
    items, (begin, bounds) = by_user.names, _bounds_of(bounds, only)
    block = (np.searchsorted(bounds, items, side="right") - 1).astype(np.int32)  # -1 before the first
    edges = np.searchsorted(items, bounds)
    block[edges[-1] :] = -1
    m = len(by_user.cols)
    source = by_user.cols, by_user.values, by_user.weights
    cut = np.empty(m, np.int32), np.empty(m, by_user.values.dtype), np.empty(len(by_user.weights), np.float32)
    starts, counts = split_columns(block, edges[:-1], by_user.lengths.astype(np.int64), source, cut)
    for b, (first, last) in enumerate(itertools.pairwise(edges)):
        if first == last:
            continue
        mine, rated = slice(*starts[b : b + 2]), counts[b] > 0
        weights = cut[2][mine] if by_user.weights.size else by_user.weights
        of_block = Grouped(
            by_user.rows[rated], counts[b][rated], cut[0][mine], by_user.levels, cut[1][mine], weights,
            items[first:last], across=True,
        )  # fmt: skip
        yield Piece(plan.grid.slot(ITEMS, begin + b), RATING, of_block)


def feature_pieces(
    batches: Iterable[pa.RecordBatch], plan: Index, side: int, slot: int | None = None
) -> Iterator[Piece]:
    """Pieces from batches of feature rows (id, indices, values), or those of the block of one ``slot`` alone.

    Raises DataError where the plan has not an id, and as `features.columns.flat_rows`.
    """
    only = None if slot is None else plan.grid.block(slot)
    for batch in batches:
        lengths, indices, values = flat_rows(batch, SIDE_NAMES[side], plan.side(side).n_features)
        ids, codes = dictionary(batch.column("id"))
        owner = np.repeat(codes, lengths)
        yield from _table_pieces(plan, side, FEATURE, ids, Entries.of(owner, indices, values), None, only)


def graph_pieces(batches: Iterable[pa.RecordBatch], plan: Index, side: int) -> Iterator[Piece]:
    """Pieces from batches of edges (i, j, s), both directions given. Raises DataError where the plan has not an id."""
    for batch in batches:
        (ids, rows), (others, cols) = (dictionary(batch.column(name)) for name in ("i", "j"))
        entries = Entries.of(rows, cols, batch.column("s").to_numpy(zero_copy_only=False))
        yield from _table_pieces(plan, side, GRAPH, ids, entries, others)


def _table_pieces(
    plan: Index, side: int, kind: int, ids: pa.Array, entries: Entries, others: pa.Array | None,
    only: int | None = None,
) -> Iterator[Piece]:  # fmt: skip
    """Entries whose rows are places in ``ids``, and whose columns are places in ``others`` if there are any."""
    rows, bounds = plan.side(side).number(ids)
    check_known(side, rows)
    names = NO_NAMES
    if others is not None:
        numbers = plan.side(side).number(others).numbers
        check_known(side, numbers)
        names = numbers.astype(np.int32)
    loose = Grouped.of(entries)
    lengths = np.zeros(len(ids), np.int64)
    lengths[loose.rows] = loose.lengths
    grouped = loose._replace(rows=rows.astype(np.int32), lengths=lengths, names=names)
    yield from _told(_pieces_of(plan, side, kind, grouped, bounds, only), plan, ids, others)


def check_known(side: int, rows: np.ndarray) -> None:
    """Raise DataError where a row number is none."""
    if (rows < 0).any():
        raise DataError(
            f"{int((rows < 0).sum())} {SIDE_NAMES[side]} ids were not there when the ids were indexed: the data give "
            "other rows each time they are computed; write them to a table, or checkpoint them, and fit to that"
        )


def _pieces_of(
    plan: Index, side: int, kind: int, grouped: Grouped, bounds: np.ndarray, only: int | None = None
) -> Iterator[Piece]:
    """Entries of one side and kind, cut by block."""
    begin, bounds = _bounds_of(bounds, only)
    for block, part in enumerate(grouped.cut(bounds), begin):
        if len(part.rows):
            yield Piece(plan.grid.slot(side, block), kind, part)


def merge_pieces(pieces: Iterable[Piece], side: int, start: int, ids: pa.Array) -> Block:
    """The block of rows ``start``, …, whose ids are given, from all of its pieces, whatever their order."""
    found: dict[int, list[Grouped]] = {kind: [] for kind in range(len(KINDS))}
    for piece in pieces:
        found[piece.kind].append(piece.grouped)
    return assemble(
        side,
        start,
        start + len(ids),
        found[RATING],
        found[FEATURE],
        found[HELD_OUT],
        keys_of(ids),
        found[GRAPH],
    )


def merge_of_plan(pieces: Iterable[Piece], plan: Plan, side: int, block: int) -> Block:
    """`merge_pieces` of a block of the plan."""
    mine = plan.side(side)
    return merge_pieces(pieces, side, int(mine.bounds[block]), mine.ids_of(block))


def build_blocks(
    plan: Plan,
    ratings: Iterable[pa.RecordBatch],
    features: dict[int, pa.Table],
    graphs: dict[int, pa.Table] | None = None,
) -> list[Block]:
    """All blocks in slot order, built in this process (no Spark)."""
    pieces: dict[int, list[Piece]] = {slot: [] for slot in range(plan.grid.slots)}
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
    return [merge_of_plan(pieces[slot], plan, side, block) for slot, side, block in plan.grid.blocks()]
