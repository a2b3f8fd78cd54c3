"""Graphs as DataFrames: the same for every partitioning, both directions, and every refusal of a given table."""

from __future__ import annotations

import logging
from collections import defaultdict

import numpy as np
import pytest
from pyspark.sql import types as T

from recsys_spark.config import GroupSpec
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.features.encode import encode
from recsys_spark.features.graph import similarity_graph, table_graph

ROWS_DDL = "item bigint, indices array<int>, values array<float>"
COLUMNS = [FeatureColumn(f, "genre" if f < 6 else "year", f"f{f}") for f in range(9)]
EDGES_DDL = "i bigint, j bigint, s double"


def feature_rows(n: int, seed: int = 0) -> list[tuple]:
    """Genres and a year: many ids share them, some have none."""
    rng = np.random.default_rng(seed)
    rows = []
    for item in rng.choice(10_000, n, replace=False):
        genres = sorted(rng.choice(6, rng.integers(0, 4), replace=False).tolist())
        year = [int(rng.integers(6, 9))] if genres else []
        rows.append((int(item), genres + year, [1 / max(1, len(genres))] * len(genres) + [1.0] * len(year)))
    return rows


def edges(graph) -> dict[tuple, float]:
    table = graph.toArrow()
    assert graph.columns == ["i", "j", "s"]
    pairs = list(zip(table["i"].to_pylist(), table["j"].to_pylist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    found = dict(zip(pairs, table["s"].to_pylist(), strict=True))
    assert all(i != j and s > 0 and found[j, i] == s for (i, j), s in found.items())
    return found


def expected_edges(rows: list[tuple], chosen: set[int], top_k: int, least: float) -> dict[tuple, float]:
    rows = sorted(rows)
    x = np.zeros((len(rows), 9))
    for at, (_, indices, values) in enumerate(rows):
        x[at, indices] = values
    x = x[:, sorted(chosen)]
    norms = np.linalg.norm(x, axis=1)
    s = np.round(x @ x.T / np.maximum(np.outer(norms, norms), 1e-30), 6)
    found = {}
    for i in range(len(rows)):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j: (-s[i, j], j < i, j))
        for j in [j for j in others[:top_k] if s[i, j] >= least and s[i, j] > 0]:
            found[rows[i][0], rows[j][0]] = found[rows[j][0], rows[i][0]] = s[i, j]
    return found


@pytest.mark.parametrize(("groups", "chosen"), [(None, set(range(9))), (["genre"], set(range(6)))])
def test_the_graph_is_that_of_the_dense_matrix_for_every_partitioning(spark, groups, chosen):
    rows = feature_rows(120)
    first = None
    for parts, order in ((1, rows), (5, rows[::-1])):
        df = spark.createDataFrame(order, ROWS_DDL).repartition(parts)
        found = edges(similarity_graph(df, "item", COLUMNS, groups=groups, top_k=7, min_similarity=0.4))
        first = first or found
        assert found == first
    expected = expected_edges(rows, chosen, 7, 0.4)
    assert first.keys() == expected.keys()
    assert all(first[pair] == pytest.approx(expected[pair], abs=2e-6) for pair in first)
    degrees = defaultdict(int)
    for i, _ in first:
        degrees[i] += 1
    assert max(degrees.values()) > 7  # the union of both directions


def test_ids_keep_their_type_and_order(spark):
    rows = [(name, [0], [1.0]) for name in ("b", "a", "é", "Z")]
    df = spark.createDataFrame(rows, ROWS_DDL.replace("bigint", "string"))
    graph = similarity_graph(df, "item", COLUMNS[:1], top_k=1)
    assert graph.dtypes == [("i", "string"), ("j", "string"), ("s", "float")]
    assert sorted(edges(graph)) == [
        ("Z", "a"), ("Z", "é"), ("a", "Z"), ("a", "b"), ("b", "a"), ("b", "é"), ("é", "Z"), ("é", "b"),
    ]  # fmt: skip


def test_encoded_features_make_a_graph(spark):
    movies = [(1, ["Drama"], 1994), (2, ["Drama"], 1991), (3, ["Comedy"], 1994), (4, [], None), (5, None, 1960)]
    df = spark.createDataFrame(movies, "item bigint, genres array<string>, year int")
    groups = [
        GroupSpec(name="genre", column="genres", kind="multi_hot", normalise="row_l1"),
        GroupSpec(name="year", column="year", kind="bins", width=5, normalise="row_l1"),
    ]
    rows, columns = encode(df, "item", groups)
    assert edges(similarity_graph(rows, "item", columns)) == pytest.approx(
        {(1, 2): 1.0, (2, 1): 1.0, (1, 3): 0.5, (3, 1): 0.5, (2, 3): 0.5, (3, 2): 0.5}
    )
    assert edges(similarity_graph(rows, "item", columns, groups=["genre"])) == {(1, 2): 1.0, (2, 1): 1.0}


def test_no_features_no_edges(spark):
    df = spark.createDataFrame([(1, [], []), (2, [], [])], ROWS_DDL)
    assert edges(similarity_graph(df, "item", COLUMNS)) == {}


def test_settings_that_make_no_graph(spark):
    df = spark.createDataFrame(feature_rows(3), ROWS_DDL)
    with pytest.raises(ConfigError, match="no feature group tags; there is: genre, year"):
        similarity_graph(df, "item", COLUMNS, groups=["genre", "tags"])
    with pytest.raises(ConfigError, match=r"no feature group \(none given\)"):
        similarity_graph(df, "item", COLUMNS, groups=[])
    with pytest.raises(ConfigError, match="no features to compare by"):
        similarity_graph(df, "item", [])
    with pytest.raises(ConfigError, match=r"top_k must be at least 1, found 0\ngraph: min_similarity .* found -1"):
        similarity_graph(df, "item", COLUMNS, top_k=0, min_similarity=-1)


def test_keys_that_are_null_or_repeated(spark):
    with pytest.raises(DataError, match="graph: 1 feature rows have no item"):
        similarity_graph(spark.createDataFrame([(None, [0], [1.0])], ROWS_DDL), "item", COLUMNS)
    with pytest.raises(DataError, match="item 7 more than once"):
        similarity_graph(spark.createDataFrame([(7, [0], [1.0])] * 2, ROWS_DDL), "item", COLUMNS)


def test_a_given_table_is_made_symmetric_by_the_larger(spark, caplog):
    given = [(1, 2, 0.5), (2, 1, 0.75), (1, 2, 0.25), (3, 3, 1.0), (2, 4, 3.0), (4, 5, 0.0), (5, 1, 0.125)]
    table = spark.createDataFrame(given, EDGES_DDL)
    with caplog.at_level(logging.INFO):
        found = edges(table_graph(table, T.LongType(), min_similarity=0.2))
    assert found == {(1, 2): 0.75, (2, 1): 0.75, (2, 4): 3.0, (4, 2): 3.0}
    assert "graph: 1 pairs of an id with itself are left out" in caplog.text
    assert table_graph(table, T.LongType()).dtypes == [("i", "bigint"), ("j", "bigint"), ("s", "float")]


def test_the_nearest_of_a_given_table_for_every_partitioning(spark):
    rng = np.random.default_rng(0)
    given = [(int(i), int(j), int(s) / 2) for i, j, s in rng.integers((0, 0, 1), (30, 30, 4), (400, 3))]
    symmetric: dict[tuple, float] = {}
    for i, j, s in given:
        for pair in ((i, j), (j, i)):
            symmetric[pair] = max(s, symmetric.get(pair, 0))
    expected = {}
    for i in range(30):
        order = sorted((-s, j < i, j) for (a, j), s in symmetric.items() if a == i and j != i)
        expected |= {pair: -s for s, _, j in order[:4] for pair in ((i, j), (j, i))}
    for parts in (1, 6):
        table = spark.createDataFrame(given, EDGES_DDL).repartition(parts)
        assert edges(table_graph(table, T.LongType(), top_k=4)) == expected


def test_small_whole_numbers_become_the_type_of_the_ids(spark):
    table = spark.createDataFrame([(1, 2, 1)], "i int, j smallint, s int")
    assert table_graph(table, T.LongType()).dtypes == [("i", "bigint"), ("j", "bigint"), ("s", "float")]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(None, 2, 1.0)], r"column i is null in 1 rows, first \(i, j, s\): \(None, 2, 1.0\)"),
        ([(1, None, 1.0), (1, 2, 1.0)], r"column j is null in 1 rows"),
        ([(1, 2, None)], r"column s is null in 1 rows"),
        ([(3, 2, float("nan")), (1, 2, float("inf"))], r"column s is NaN, infinite .* in 2 rows.*: \(1, 2, inf\), \(3"),
        ([(1, 2, 1e300)], r"beyond float32 in 1 rows"),
        ([(i, 9, -0.5) for i in range(8)], r"column s is negative in 8 rows.*: \(0, 9, -0.5\), .*\(4, 9, -0.5\)$"),
    ],
)
def test_tables_that_are_no_graph(spark, rows, words):
    with pytest.raises(DataError, match=words):
        table_graph(spark.createDataFrame(rows, EDGES_DDL), T.LongType())


def test_tables_of_other_columns_or_types(spark):
    table = spark.createDataFrame([(1, 2, 1.0)], EDGES_DDL)
    with pytest.raises(DataError, match="the table has no column j, s; it has i, near"):
        table_graph(table.selectExpr("i", "j as near"), T.LongType())
    with pytest.raises(DataError, match="column i is bigint, and ids are string"):
        table_graph(table, T.StringType())
    with pytest.raises(DataError, match="column s must be a number, found string"):
        table_graph(table.selectExpr("i", "j", "string(s) as s"), T.LongType())
