"""First pass over the ratings: coded chunks with dictionaries of their own, and a tally of ids; plain functions.

A chunk holds up to some millions of ratings of one kind (training, held out), grouped by user, ids replaced by their
places in the chunk's own sorted dictionaries. It takes 3 to 5 bytes a rating, needs no knowledge of other chunks, and
is all that later passes read: the DataFrame behind the ratings is read once.

    user 7 7 9   item 30 10 30   rating 3 4 2
      users 7 9 · lengths 2 1 · items 10 30 · codes 1 0 | 1 · values 3 4 | 2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.blocks.wire import code_values, narrow, pack, unpack
from recsys_spark.kernels.coding import count_kind, dense_places, group_kind
from recsys_spark.kernels.rows import F32, NO_F32

CHUNK_ROWS = 2_000_000
CHUNK_BYTES = 256 << 20  # of a chunk's input: long string ids fill a chunk before its rows do
CHUNK_DDL = "bad boolean, user binary, item binary, chunk binary"
_SCHEMA = pa.schema([("bad", pa.bool_()), ("user", pa.binary()), ("item", pa.binary()), ("chunk", pa.binary())])


class Chunk(NamedTuple):
    """Some ratings of one kind, grouped by user."""

    held_out: bool
    users: pa.Array  # (p,) int64 or string, sorted, unique
    items: pa.Array  # (q,) likewise
    lengths: np.ndarray  # (p,) entries of each user
    codes: np.ndarray  # (m,) each entry's item, a place in items
    levels: F32  # (l,) see `wire.code_values`
    values: np.ndarray  # (m,) uint8 codes, or float32 where there are no levels
    weights: F32  # (m,), or (0,) where every weight is 1

    def encode(self) -> bytes:
        """The chunk as bytes."""
        head = np.array([self.held_out])
        return pack({"held_out": head} | {name: getattr(self, name) for name in self._fields[1:]})

    @classmethod
    def decode(cls, data: bytes | bytearray) -> Chunk:
        """The inverse of `encode`."""
        found = unpack(data)
        users, items = found.pop("users"), found.pop("items")
        held_out = found.pop("held_out")[0].as_py()
        return cls(held_out, users, items, **{name: array.to_numpy() for name, array in found.items()})


class Tally:
    """How many training ratings each id of a side has, added up chunk by chunk."""

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []

    def add(self, ids: pa.Array, counts: np.ndarray) -> None:
        """Count some ids once more."""
        self._parts.append(pa.table({"id": ids, "count": counts.astype(np.int64)}))

    def table(self) -> pa.Table | None:
        """(id, count), each id once, in no order; None where nothing was counted."""
        if not self._parts:
            return None
        table = pa.concat_tables(self._parts)
        if len(self._parts) > 1:
            table = table.group_by("id").aggregate([("count", "sum")]).rename_columns(["id", "count"])
        return table

    def encode(self) -> bytes | None:
        """The table as bytes."""
        table = self.table()
        return table and pack({name: table[name].combine_chunks() for name in ("id", "count")})

    def extend(self, data: bytes | bytearray) -> None:
        """Add what another tally encoded."""
        self._parts.append(pa.table(unpack(data)))


def dictionary(ids: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Sorted unique ids, int64 or string, and each id's place among them, int32. No id is null.

    >>> ids, codes = dictionary(pa.array([30, 10, 30]))
    >>> ids.to_pylist(), codes.tolist()
    ([10, 30], [1, 0, 1])
    """
    if pa.types.is_integer(ids.type):
        values = ids.to_numpy()
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        if high - low < 2 * len(values) + 1024:
            unique, codes = dense_places(values, low, high - low + 1)
            return pa.array(unique), codes
    coded = ids.dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    kind = pa.int64() if pa.types.is_integer(ids.type) else pa.string()
    return pc.cast(coded.dictionary.take(pa.array(order)), kind), place[coded.indices.to_numpy()]


def rating_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row for each chunk of (user, item, rating[, weight][, held_out]), and a last row with the task's tallies.

    Where a null id, a null or non-finite rating, or a null, non-finite or negative weight turns up, there are no more
    chunks, and the last row says ``bad``.
    """
    tallies = (Tally(), Tally())
    for table in _gathered(batches):
        if _is_bad(table):
            yield _row(bad=True)
            return
        for chunk in chunks_of(table, tallies):
            yield _row(chunk=chunk.encode())
    yield _row(user=tallies[0].encode(), item=tallies[1].encode())


def _row(
    bad: bool = False, user: bytes | None = None, item: bytes | None = None, chunk: bytes | None = None
) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([[bad], [user], [item], [chunk]], schema=_SCHEMA)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        pending.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.Table.from_batches(pending).combine_chunks()
            pending, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(pending).combine_chunks()


def _is_bad(table: pa.Table) -> bool:
    if any(column.null_count for column in table.columns):
        return True
    weight = _floats(table, "weight")
    return not np.isfinite(_floats(table, "rating")).all() or not (np.isfinite(weight) & (weight >= 0)).all()


def _floats(table: pa.Table, name: str) -> F32:
    """A column as float32, minus zero as zero; (0,) where there is none."""
    if name not in table.column_names:
        return NO_F32
    column = table[name].combine_chunks()  # of chunks, NumPy's copy would look for nulls
    return column.to_numpy().astype(np.float32, copy=False) + np.float32(0)


def chunks_of(table: pa.Table, tallies: tuple[Tally, Tally]) -> Iterator[Chunk]:
    """The chunks, training and held out, of a table without bad rows; adds training ids to ``tallies``.

    Ratings of weight 0 give their ids a row in the index, and are left out otherwise.
    """
    (users, user), (items, item) = (dictionary(table[name].combine_chunks()) for name in ("user", "item"))
    weights = _floats(table, "weight")
    levels, values = code_values(_floats(table, "rating"))
    kinds = np.zeros(len(user), bool)
    if "held_out" in table.column_names:
        kinds = table["held_out"].combine_chunks().to_numpy(zero_copy_only=False)
    for held_out in (False, True) if kinds.any() else (False,):
        mine = kinds if held_out else ~kinds
        of_users, of_items = np.zeros(len(users), np.int64), np.zeros(len(items), np.int64)
        count_kind(user, item, mine, of_users, of_items)
        rated = np.flatnonzero(of_users), np.flatnonzero(of_items)
        if not len(rated[0]):
            continue
        own, others = (ids.take(pa.array(places)) for ids, places in zip((users, items), rated, strict=True))
        if not held_out:
            tallies[0].add(own, of_users[rated[0]])
            tallies[1].add(others, of_items[rated[1]])
        if weights.size and (weights == 0).any():
            mine &= weights != 0
            of_users = np.bincount(user[mine], minlength=len(users))
        starts = np.r_[0, np.cumsum(of_users)]
        n = int(starts[-1])
        names = np.empty(len(items), np.int32)
        names[rated[1]] = np.arange(len(rated[1]), dtype=np.int32)
        cut = np.empty(n, np.int32), np.empty(n, values.dtype), np.empty(n if weights.size else 0, np.float32)
        group_kind(starts[:-1].copy(), user, names, mine, (item, values, weights), cut)
        codes, *rest = cut
        yield Chunk(held_out, own, others, narrow(of_users[rated[0]]), narrow(codes), levels, *rest)
