"""Feature columns to and from tables, and rows to CSR."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from recsys_spark.errors import DataError
from recsys_spark.features.columns import (
    COLUMNS_SCHEMA,
    FeatureColumn,
    columns_from_table,
    columns_to_table,
    flat_rows,
    to_csr,
)

COLUMNS = [FeatureColumn(0, "genre", "genre=Drama"), FeatureColumn(1, "budget", "budget", 2.5, 0.0)]


def test_columns_survive_a_table_in_any_order():
    table = columns_to_table(COLUMNS)
    assert table.schema == COLUMNS_SCHEMA
    assert columns_from_table(table.take([1, 0])) == COLUMNS
    assert columns_from_table(columns_to_table([])) == []


def test_gaps_and_twins_are_refused():
    with pytest.raises(DataError, match=r"numbered 0 to 1 without gaps, found \[0, 2\]"):
        columns_to_table([FeatureColumn(0, "a", "a"), FeatureColumn(2, "a", "b")])
    with pytest.raises(DataError, match="named twice: b of group a"):
        columns_to_table([FeatureColumn(0, "a", "b"), FeatureColumn(1, "a", "b")])


def test_a_foreign_table_is_named():
    with pytest.raises(DataError, match="lacks mean, std; it has index, group, name"):
        columns_from_table(columns_to_table(COLUMNS).drop_columns(["mean", "std"]))


def rows(ids: list, indices: list, values: list) -> pa.Table:
    return pa.table(
        {
            "item": pa.array(ids),
            "indices": pa.array(indices, pa.list_(pa.int32())),
            "values": pa.array(values, pa.list_(pa.float32())),
        }
    )


@pytest.mark.parametrize("chunks", [1, 3])
def test_csr_follows_the_order_of_ids(chunks):
    table = rows([5, 1, 9], [[0, 2], [], [1]], [[0.5, 0.25], [], [3.0]])
    table = pa.concat_tables([table.slice(i * 3 // chunks, 3 // chunks) for i in range(chunks)])
    indptr, indices, values = to_csr(table, "item", pa.array([1, 4, 9, 5], pa.int64()))
    assert [indptr.dtype, indices.dtype, values.dtype] == [np.int64, np.int32, np.float32]
    assert indptr.tolist() == [0, 0, 0, 1, 3]
    assert indices.tolist() == [1, 0, 2]
    assert values.tolist() == [3.0, 0.5, 0.25]


def test_csr_of_nothing():
    indptr, indices, values = to_csr(rows([], [], []).cast(rows([1], [[]], [[]]).schema), "item", [3, 4])
    assert (indptr.tolist(), len(indices), len(values)) == ([0, 0, 0], 0, 0)


def test_csr_of_text_ids():
    table = rows(["b", "a"], [[0], [1]], [[1.0], [2.0]])
    assert to_csr(table, "item", ["a", "b"])[2].tolist() == [2.0, 1.0]


def test_csr_refuses_twins_and_odd_rows():
    with pytest.raises(DataError, match="name item 7 more than once"):
        to_csr(rows([7, 7, 8], [[0], [0], [0]], [[1.0], [1.0], [1.0]]), "item", [7])
    with pytest.raises(DataError, match="not as many values as indices"):
        to_csr(rows([7], [[0, 1]], [[1.0]]), "item", [7])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [(10, [0], [NAN])],
            r"values that are null, NaN or infinite \(leave .*\) in 1 row\(s\); the first: item \[10\]",
        ),
        (
            [(10, [0], [INF]), (9, [0], [1.0]), (11, [0], [None])],
            r"values that .* in 2 row\(s\); the first: item \[10, 11\]",
        ),
        ([(10, [0], [1e39])], "values that are null, NaN or infinite"),
        ([(10, [2], [1.0])], r"indices that are no feature column \(0 to 1\) in 1 row\(s\); the first: item \[10\]"),
        ([(10, [-1], [1.0]), (11, [None], [1.0])], r"indices that are no feature column \(0 to 1\) in 2 row"),
        ([(10, [2**32], [1.0])], "indices that are no feature column"),
        ([(10, [0, 1], [1.0])], "not as many values as indices in 1 row"),
        ([(11, [0], [1.0]), (10, [0], None)], r"not as many values as indices in 1 row\(s\); the first: item \[10\]"),
        ([(10, [1, 0, 1], [1.0, 1.0, 1.0])], r"an index twice in 1 row\(s\); the first: item \[10\]"),
    ],
)
def test_feature_rows_that_cannot_be_used(rows, words):
    with pytest.raises(DataError, match=f"item features hold {words}"):
        flat_rows(feature_rows(rows), "item", 2)


def test_feature_rows_without_columns_and_rows_without_entries():
    with pytest.raises(DataError, match=r"no feature column \(none\)"):
        flat_rows(feature_rows([(10, [0], [1.0])]), "item", 0)
    lengths, indices, values = flat_rows(
        feature_rows([(3, [1, 0], [2.0, 1.0]), (4, None, None), (5, [], [])]), "item", 2
    )
    assert (lengths.tolist(), indices.tolist(), values.tolist()) == ([2, 0, 0], [1, 0], [2.0, 1.0])


def feature_rows(rows):
    kinds = (pa.int64(), pa.list_(pa.int64()), pa.list_(pa.float64()))
    names = ("id", "indices", "values")
    return pa.table(
        {name: pa.array(column, kind) for name, column, kind in zip(names, zip(*rows, strict=True), kinds, strict=True)}
    )


@pytest.mark.parametrize("module", ["features.columns", "features.groups", "evaluate.rating", "evaluate.report"])
def test_pure_modules_do_not_load_pyspark(module):
    code = f"import sys, recsys_spark.{module}; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
