"""Encoding one group from an Arrow array, checked against dense matrices written out."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.features import groups
from recsys_spark.features.groups import GroupEncoder, encode_batches
from recsys_spark.features.statistics import exact_parts, partial_sums

GENRES = pa.array([["b", "a"], [], None, ["c"], ["a", "a", None]], pa.list_(pa.string()))


def dense(encoder: GroupEncoder, array: pa.Array) -> np.ndarray:
    entries = encoder.encode(array)
    out = np.zeros((len(array), len(encoder.labels)))
    assert len(set(zip(entries.rows, entries.columns, strict=True))) == len(entries.rows), "an entry twice"
    assert (entries.values != 0).all()
    out[entries.rows, entries.columns] = entries.values
    return out


def genre(normalise: str, **moments) -> GroupEncoder:
    return GroupEncoder("g", "multi_hot", normalise, ("g=a", "g=b"), ("a", "b"), **moments)


def test_multi_hot_counts_a_value_once_and_leaves_out_unknown_ones():
    assert dense(genre("none"), GENRES).tolist() == [[1, 1], [0, 0], [0, 0], [0, 0], [1, 0]]


def test_row_l1():
    assert dense(genre("row_l1"), GENRES).tolist() == [[0.5, 0.5], [0, 0], [0, 0], [0, 0], [1, 0]]


def test_zscore_is_dense_but_for_missing_rows():
    encoder = genre("col_zscore", mean=(0.5, 0.25), std=(0.5, 0.125))
    assert dense(encoder, GENRES).tolist() == [[1, 6], [-1, -2], [0, 0], [-1, -2], [1, -2]]


def test_a_constant_column_becomes_zero():
    encoder = GroupEncoder("x", "numeric", "col_zscore", ("x",), mean=(7.0,), std=(0.0,))
    assert len(encoder.encode(pa.array([7.0, None, 7.0])).values) == 0


def test_one_hot():
    encoder = GroupEncoder("age", "one_hot", "none", ("age=1", "age=25"), ("1", "25"))
    assert dense(encoder, pa.array(["25", None, "1", "18"])).tolist() == [[0, 1], [0, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("x", "column"), [(1990.0, 1), (1994.999, 1), (1989.9, 0), (1995.0, None), (None, None), (-0.1, None)]
)
def test_bins_are_half_open(x, column):
    encoder = GroupEncoder("year", "bins", "none", ("1985", "1990"), (397, 398), width=5)
    assert encoder.encode(pa.array([x], pa.float64())).columns.tolist() == ([] if column is None else [column])


def test_number_lists_keep_their_places_around_nulls():
    encoder = GroupEncoder("v", "numeric", "row_l1", ("v[0]", "v[1]"))
    array = pa.array([[3.0, -1.0], None, [None, 2.0], [0.0, 0.0]], pa.list_(pa.float64()))
    assert dense(encoder, array).tolist() == [[0.75, -0.25], [0, 0], [0, 1], [0, 0]]


def test_sliced_arrays_are_encoded_as_their_copies():
    # Arrow slices keep the parent's buffers: offsets must not leak into row numbers.
    for encoder in (genre("row_l1"), genre("col_zscore", mean=(0.5, 0.25), std=(0.5, 0.25))):
        whole = dense(encoder, GENRES)
        assert dense(encoder, GENRES.slice(3)).tolist() == whole[3:].tolist()


@pytest.mark.parametrize("limit", [1, 5, 1 << 22])
def test_batches_put_groups_side_by_side(limit, monkeypatch):
    monkeypatch.setattr(groups, "_MAX_ENTRIES", limit)
    years = GroupEncoder("year", "bins", "none", ("1990",), (398,), width=5)
    numbers = pa.array([None, 1991.0, 1990.0, 3.0, 1994.0])
    batch = pa.record_batch({"item": pa.array([9, 8, 7, 6, 5]), "g0": GENRES, "g1": numbers})
    out = pa.Table.from_batches(encode_batches([batch], "item", [genre("none"), years]))
    assert out.schema.types == [pa.int64(), pa.list_(pa.int32()), pa.list_(pa.float32())]
    assert out["item"].to_pylist() == [9, 8, 7, 6, 5]
    assert out["indices"].to_pylist() == [[0, 1], [2], [2], [], [0, 2]]
    assert [len(values) for values in out["values"].to_pylist()] == [2, 1, 1, 0, 2]


def test_no_groups_give_empty_rows():
    out = next(encode_batches([pa.record_batch({"item": pa.array([1, 2])})], "item", []))
    assert out["indices"].to_pylist() == [[], []]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 60), spread=st.integers(0, 300))
def test_parts_add_up_exactly_however_cut(seed, n, spread):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 2.0 ** rng.integers(-spread, spread + 1, n)
    cut = int(rng.integers(0, n + 1))
    total = math.fsum(exact_parts(x[:cut]) + exact_parts(x[cut:]))
    assert total == math.fsum(x)


def test_partial_sums_of_each_column():
    encoder = GroupEncoder("v", "numeric", "col_zscore", ("v[0]", "v[1]"))
    batch = pa.record_batch({"g3": pa.array([[1.0, 2.0], [3.0, None], None], pa.list_(pa.float64()))})
    found = next(partial_sums([batch], [(3, encoder)], None))
    assert found.to_pylist() == [
        {"column": 0, "count": 2, "partial": 4.0, "low": 1.0, "high": 3.0},
        {"column": 1, "count": 1, "partial": 2.0, "low": 2.0, "high": 2.0},
    ]
    squares = next(partial_sums([batch], [(3, encoder)], np.array([2.0, 2.0])))
    assert squares["partial"].to_pylist() == [2.0, 0.0]
