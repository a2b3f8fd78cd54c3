"""Map side and reduce side of block building, as plain functions over Arrow batches and bytes (executor, or anywhere).

Map: a batch of ratings goes to the user block and the item block of each rating, as a few large binary pieces.
Reduce: the pieces of a block, in any order, become its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.assemble import assemble
from recsys_spark.blocks.layout import ITEMS, USERS, Block, Entries
from recsys_spark.blocks.plan import Plan
from recsys_spark.kernels.rows import NO_F32

RATING, FEATURE, HELD_OUT = 0, 1, 2
KINDS = ("rating", "feature", "held_out")
FLUSH_ROWS = 4_000_000  # entries kept before pieces are emitted: bounds a map task's memory to some 100 MB


class Piece(NamedTuple):
    """Some entries of one block, of one kind."""

    slot: int
    kind: int
    entries: Entries

    def encode(self) -> bytes:
        """Kind, number of entries and weights as int64, then the arrays."""
        e = self.entries
        head = np.array([self.kind, len(e.rows), len(e.weights)], np.int64)
        return b"".join(a.tobytes() for a in (head, *e))

    @classmethod
    def decode(cls, slot: int, data: bytes) -> Piece:
        """The inverse of `encode`."""
        kind, n, n_weights = np.frombuffer(data, np.int64, 3)
        parts, at = [], 24
        for dtype, length in ((np.int32, n), (np.int32, n), (np.float32, n), (np.float32, n_weights)):
            parts.append(np.frombuffer(data, dtype, int(length), at))
            at += parts[-1].nbytes
        return cls(slot, int(kind), Entries(*parts))

    def batch(self) -> pa.RecordBatch:
        """One row of (slot int32, piece binary)."""
        return pa.RecordBatch.from_pydict(
            {"slot": pa.array([self.slot], pa.int32()), "piece": pa.array([self.encode()], pa.binary())}
        )


def rating_pieces(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[Piece]:
    """Pieces of both sides' blocks from batches of (user, item, rating[, weight][, held_out]).

    Held-out ratings go to user blocks only; those of a user or item without training ratings or features are left
    out, since no row or factor could answer for them.
    """
    pending: list[tuple[Entries, bool]] = []
    n = 0
    for batch in batches:
        for part in _indexed(batch, plan):
            pending.append(part)
            n += len(part[0].rows)
        if n >= FLUSH_ROWS:
            yield from _cut(pending, plan)
            pending, n = [], 0
    yield from _cut(pending, plan)


def _indexed(batch: pa.RecordBatch, plan: Plan) -> Iterator[tuple[Entries, bool]]:
    names = batch.schema.names
    users = plan.user.rows(batch.column("user")).astype(np.int32)
    items = plan.item.rows(batch.column("item")).astype(np.int32)
    values = batch.column("rating").to_numpy(zero_copy_only=False).astype(np.float32)
    weights = batch.column("weight").to_numpy(zero_copy_only=False).astype(np.float32) if "weight" in names else NO_F32
    entries = Entries(users, items, values, weights)
    if "held_out" not in names:
        yield entries, False
        return
    held = batch.column("held_out").to_numpy(zero_copy_only=False)
    yield entries.take(np.flatnonzero(~held)), False
    yield entries.take(np.flatnonzero(held & (users >= 0) & (items >= 0))), True


def _cut(pending: list[tuple[Entries, bool]], plan: Plan) -> Iterator[Piece]:
    for held in (False, True):
        entries = Entries.concatenate([e for e, h in pending if h == held])
        if not len(entries.rows):
            continue
        yield from pieces_of(plan, USERS, HELD_OUT if held else RATING, entries)
        if not held:
            mirrored = Entries(entries.cols, entries.rows, entries.values, entries.weights)
            yield from pieces_of(plan, ITEMS, RATING, mirrored)


def feature_pieces(batches: Iterable[pa.RecordBatch], plan: Plan, side: int) -> Iterator[Piece]:
    """Pieces from batches of feature rows (id, indices, values)."""
    for batch in batches:
        rows = plan.side(side).rows(batch.column("id"))
        lists, values = batch.column("indices"), batch.column("values")
        owner = np.repeat(rows, np.diff(lists.offsets.to_numpy()))
        indices = lists.flatten().to_numpy(zero_copy_only=False)
        entries = Entries.of(owner, indices, values.flatten().to_numpy(zero_copy_only=False))
        yield from pieces_of(plan, side, FEATURE, entries)


def pieces_of(plan: Plan, side: int, kind: int, entries: Entries) -> Iterator[Piece]:
    """Entries of one side and kind, cut by block."""
    bounds = plan.side(side).bounds
    block = np.searchsorted(bounds[1:], entries.rows, side="right")
    order = np.argsort(block, kind="stable")
    cuts = np.searchsorted(block[order], np.arange(len(bounds)))
    for b in range(len(bounds) - 1):
        if cuts[b] < cuts[b + 1]:
            yield Piece(plan.slot(side, b), kind, entries.take(order[cuts[b] : cuts[b + 1]]))


def merge_pieces(pieces: Iterable[Piece], plan: Plan, side: int, block: int) -> Block:
    """The block that all of its pieces make, whatever their order."""
    found: dict[int, list[Entries]] = {RATING: [], FEATURE: [], HELD_OUT: []}
    for piece in pieces:
        found[piece.kind].append(piece.entries)
    bounds = plan.side(side).bounds
    return assemble(
        side,
        int(bounds[block]),
        int(bounds[block + 1]),
        found[RATING],
        found[FEATURE],
        found[HELD_OUT],
        plan.side(side).keys(block),
    )


def build_blocks(plan: Plan, ratings: Iterable[pa.RecordBatch], features: dict[int, pa.Table]) -> list[Block]:
    """All blocks in slot order, built in this process (no Spark)."""
    pieces: dict[int, list[Piece]] = {slot: [] for slot in range(plan.n_slots)}
    for piece in rating_pieces(ratings, plan):
        pieces[piece.slot].append(piece)
    for side, table in features.items():
        for piece in feature_pieces(table.to_batches(), plan, side):
            pieces[piece.slot].append(piece)
    return [merge_pieces(pieces[slot], plan, side, block) for slot, side, block in plan.slots()]
