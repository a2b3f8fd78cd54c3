"""From ratings to blocks without Spark: the same bits however the ratings lie, and the same as the plain way."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.blocks import chunks
from recsys_spark.blocks.chunks import Chunk, Tally, dictionary, rating_chunks
from recsys_spark.blocks.grouped import Grouped, to_csr
from recsys_spark.blocks.layout import ITEMS, USERS, Block, Entries
from recsys_spark.blocks.pieces import HELD_OUT, RATING, Piece, chunk_pieces, merge_of_plan
from recsys_spark.blocks.plan import Plan, plan_side
from recsys_spark.blocks.wire import code_values, decode_values, pack, unpack
from recsys_spark.errors import DataError
from recsys_spark.kernels.bucket import col_order, counting_order

seeds = st.integers(0, 2**32 - 1)


def ratings(seed: int, n: int = 400, *, weights: bool = True, strings: bool = False, levels: int = 4) -> pa.Table:
    """Ratings with duplicates, ties, zero weights and held-out ones."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(-5, 20, n) * 10**15, rng.integers(0, 12, n)
    columns = {
        "user": pa.array([f"ü{u}" for u in user]) if strings else pa.array(user),
        "item": pa.array(item.astype(np.int16)),
        "rating": pa.array((rng.integers(0, levels, n) / 2).astype(np.float32)),
        "held_out": pa.array(rng.random(n) < 0.2),
    }
    if weights:
        columns["weight"] = pa.array(rng.integers(0, 3, n).astype(np.float32))
    return pa.table(columns)


def built(table: pa.Table, parts: int, plan: Plan | None = None) -> tuple[Plan, list[bytes]]:
    """Plan and records from ``parts`` tasks."""
    cuts = np.linspace(0, len(table), parts + 1).astype(int)
    tallies, found = (Tally(), Tally()), []
    for a, b in itertools.pairwise(cuts):
        for row in rating_chunks(table.slice(a, b - a).to_batches(max_chunksize=37)):
            found += [Chunk.decode(c.as_buffer()) for c in row["chunk"].drop_null()]
            for tally, name in zip(tallies, ("user", "item"), strict=True):
                for data in row[name].drop_null():
                    tally.extend(data.as_buffer())
    plan = plan or Plan(
        plan_side(USERS, tallies[0].table(), None, 0, 3), plan_side(ITEMS, tallies[1].table(), None, 0, 2)
    )
    pieces = [(p.slot, p.encode()) for chunk in found for p in chunk_pieces(chunk, plan)]
    for slot in range(plan.grid.slots):
        alone = [(p.slot, p.encode()) for chunk in found for p in chunk_pieces(chunk, plan, slot)]
        assert alone == [piece for piece in pieces if piece[0] == slot]
    records = [
        merge_of_plan([Piece.decode(s, data) for s, data in pieces if s == slot], plan, side, block).to_bytes()
        for slot, side, block in plan.grid.blocks()
    ]
    return plan, records


def across(e: Entries) -> Grouped:
    """Entries by column."""
    turned = Grouped.of(e._replace(rows=e.cols, cols=e.rows))
    names, places = np.unique(turned.cols, return_inverse=True)
    return turned._replace(cols=places, names=names.astype(np.int32), across=True)


@pytest.mark.parametrize("strings", [False, True])
@settings(deadline=None)
@given(seed=seeds, parts=st.integers(1, 5), weights=st.booleans(), levels=st.sampled_from([4, 5000]))
def test_the_same_bits_whatever_the_order_and_the_tasks(
    strings: bool, seed: int, parts: int, weights: bool, levels: int
) -> None:
    table = ratings(seed, weights=weights, strings=strings, levels=levels)
    shuffled = table.take(np.random.default_rng(seed + 1).permutation(len(table)))
    plan, records = built(table, 1)
    again, others = built(shuffled, parts)
    assert again.user.ids.equals(plan.user.ids)
    assert again.user.bounds.tolist() == plan.user.bounds.tolist()
    assert others == records


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, records = built(ratings(0), 1)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 50)
    assert built(ratings(0), 2)[1] == records


@settings(deadline=None)
@given(
    seed=seeds,
    n=st.integers(0, 300),
    cols=st.sampled_from([3, 40, 10**9]),
    weighted=st.booleans(),
    moved=st.sampled_from([0, 2, 300]),
    mixed=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_csr_is_that_of_a_plain_sort(
    seed: int, n: int, cols: int, weighted: bool, moved: int, mixed: tuple[bool, ...]
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 3, n).astype(np.float32) if weighted else None
    e = Entries.of(rng.integers(5, 25, n), rng.integers(0, cols, n), rng.integers(0, 3, n), weights)
    order = np.lexsort((*([e.weights] if weighted else []), e.values, e.cols, e.rows))
    e = e.take(order)
    at = rng.permutation(n)[:moved]  # all else stays in order
    given = np.arange(n)
    given[at] = rng.permutation(at)
    cuts = sorted(rng.integers(0, n + 1, 2))
    parts = [
        across(e.take(part)) if mixed[n] else Grouped.of(e.take(part)) for n, part in enumerate(np.split(given, cuts))
    ]
    csr = to_csr(parts, 4, 27)
    assert csr.indptr.tolist() == np.searchsorted(e.rows, np.arange(4, 28)).tolist()
    for mine, plain in zip(csr[1:], e[1:], strict=True):
        assert mine.tobytes() == plain.tobytes()


def test_held_out_ratings_of_unknown_ids_are_left_out() -> None:
    table = pa.table(
        {
            "user": [1, 1, 1, 2, 3],
            "item": [10, 10, 11, 10, 10],
            "rating": pa.array([4, 3, 2, 5, 1], pa.float32()),
            "held_out": [False, True, True, False, True],
        }
    )
    plan, _ = built(table, 1)
    assert plan.user.ids.to_pylist() == [1, 2]
    held = next(Chunk.decode(r["chunk"][0].as_buffer()) for r in list(rating_chunks(table.to_batches()))[1:])
    assert held.held_out
    (piece,) = chunk_pieces(held, plan)
    assert (piece.kind, piece.grouped.rows.tolist(), piece.grouped.numbers().tolist()) == (HELD_OUT, [0], [0])


def test_weight_zero_gives_a_row_and_no_entry() -> None:
    table = pa.table({"user": [1, 2], "item": [7, 8], "rating": [4.0, 3.0], "weight": [0.0, 2.0]})
    plan, records = built(table, 1)
    assert plan.user.ids.to_pylist() == [1, 2]
    blocks = [Block.from_buffer(record) for record in records]
    assert [b.ratings.values.tolist() for b in blocks if len(b.ratings.values)] == [[3.0], [3.0]]


def test_ratings_that_changed_since_they_were_indexed_are_refused() -> None:
    plan, _ = built(ratings(0), 1)
    other = ratings(0).set_column(1, "item", pa.array(np.full(400, 99)))
    with pytest.raises(DataError, match="item ids were not there when the ids were indexed"):
        built(other, 1, plan)


@pytest.mark.parametrize(
    ("column", "value"),
    [("user", None), ("rating", None), ("rating", np.nan), ("rating", np.inf), ("weight", -1.0), ("weight", None)],
)
def test_a_bad_rating_ends_the_chunks(column: str, value: object) -> None:
    table = ratings(0)
    kind = table.schema.field(column).type
    spoiled = pa.array([value, *table[column].to_pylist()[1:]], kind)
    table = table.set_column(table.column_names.index(column), column, spoiled)
    (row,) = rating_chunks(table.to_batches())
    assert row["bad"].to_pylist() == [True]


def test_minus_zero_is_zero() -> None:
    ids, zeros = pa.array([1, 1]), pa.array([0.0, -0.0], pa.float32())
    rows = list(rating_chunks(pa.table({"user": ids, "item": ids, "rating": zeros}).to_batches()))
    chunk = Chunk.decode(rows[0]["chunk"][0].as_buffer())
    assert not np.signbit(decode_values(chunk.levels, chunk.values)).any()


@settings(deadline=None)
@given(seed=seeds, n=st.integers(1, 300), spread=st.sampled_from([3, 10**3, 2**62]))
def test_dictionaries_are_sorted_and_whole(seed: int, n: int, spread: int) -> None:
    ids = np.random.default_rng(seed).integers(-spread, spread, n)
    for array in (pa.array(ids), pa.array([str(i) for i in ids])):
        unique, codes = dictionary(array)
        assert unique.to_pylist() == sorted(set(array.to_pylist()))
        assert unique.take(pa.array(codes)).equals(array)


def test_small_types_on_the_wire() -> None:
    levels, codes = code_values(np.array([0.5, 5.0, 0.5] * 100, np.float32))
    assert codes.dtype == np.uint8
    assert code_values(np.arange(300, dtype=np.float32))[0].size == 0
    late = np.r_[np.zeros(20_000), np.arange(300)].astype(np.float32)
    assert code_values(late)[1].tobytes() == late.tobytes()
    grouped = Grouped(np.array([3, 9]), np.array([100, 200]), np.arange(300), levels, codes, np.empty(0, np.float32))
    data = Piece(0, RATING, grouped).encode()
    assert len(data) < 300 * 3 + 2000
    back = Piece.decode(0, data).grouped
    assert (back.cols.dtype, back.lengths.dtype) == (np.uint16, np.uint8)
    assert unpack(pack({"a": np.empty(0, np.float32)}))["a"].to_pylist() == []


def test_keys_outside_of_the_range_are_refused() -> None:
    for keys in ([0, -1], [0, 2]):
        with pytest.raises(ValueError, match="a key is negative or too large"):
            counting_order(np.array(keys, np.int32), 2)


def test_only_rows_out_of_order_are_moved() -> None:
    indptr = np.array([0, 4, 4, 6])
    assert col_order(indptr, np.array([1, 2, 2, 5, 0, 3], np.int32)) is None
    to, source = col_order(indptr, np.array([1, 2, 2, 5, 3, 0], np.int32))
    assert (to.tolist(), source.tolist()) == ([4, 5], [5, 4])
    to, source = col_order(indptr, np.array([2, 1, 2, 5, 0, 3], np.int32))
    assert (to, source.tolist()) == (slice(None), [1, 0, 2, 3, 4, 5])
