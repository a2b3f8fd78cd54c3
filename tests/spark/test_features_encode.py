"""Features encoded by Spark, against matrices made by hand, for any partitioning; and every refusal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leaks import persisted
from recsys_spark.config import GroupSpec
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.features import vocabulary
from recsys_spark.features.columns import FeatureColumn, to_csr
from recsys_spark.features.encode import encode, keep_groups

DDL = "item bigint, title string, year int, genres array<string>, price double, vector array<float>, seen boolean"
MOVIES = [
    (1, "A", 1994, ["Drama", "Comedy"], 10.0, [1.0, 4.0], True),
    (2, "B", 1995, ["Drama"], 20.0, [1.0, 8.0], False),
    (3, "C", None, [], None, None, None),
    (10, "D", 1990, ["Zany", "Drama", "Zany"], 30.0, [1.0, None], True),
]


@pytest.fixture
def movies(spark):
    return spark.createDataFrame(MOVIES, DDL)


def spec(name, kind, column=None, **rest) -> GroupSpec:
    return GroupSpec(name=name, column=column or name, kind=kind, **rest)


def matrix(rows, columns, key="item") -> dict:
    """Dense rows by key; checks that indices ascend and that no zero is stored."""
    table = rows.toArrow()
    keys = sorted(table[key].to_pylist())
    indptr, indices, values = to_csr(table, key, keys)
    out = {}
    for r, one in enumerate(keys):
        at = slice(indptr[r], indptr[r + 1])
        assert (np.diff(indices[at]) > 0).all()
        assert (values[at] != 0).all()
        out[one] = [0.0] * len(columns)
        for j, value in zip(indices[at], values[at], strict=True):
            out[one][j] = float(value)
    return out


def names(columns) -> list[str]:
    return [column.name for column in columns]


def test_the_default_groups(movies):
    rows, columns = encode(
        movies,
        "item",
        [
            spec("genre", "multi_hot", "genres", normalise="row_l1"),
            spec("year", "bins", width=5, normalise="row_l1"),
        ],
    )
    assert columns == [
        FeatureColumn(0, "genre", "genre=Comedy"),
        FeatureColumn(1, "genre", "genre=Drama"),
        FeatureColumn(2, "genre", "genre=Zany"),
        FeatureColumn(3, "year", "year=1990-1994"),
        FeatureColumn(4, "year", "year=1995-1999"),
    ]
    assert matrix(rows, columns) == {
        1: [0.5, 0.5, 0, 1, 0],
        2: [0, 1, 0, 0, 1],
        3: [0, 0, 0, 0, 0],
        10: [0, 0.5, 0.5, 1, 0],
    }
    assert rows.dtypes == [("item", "bigint"), ("indices", "array<int>"), ("values", "array<float>")]


def test_min_count_leaves_rare_values_out(movies):
    rows, columns = encode(
        movies,
        "item",
        [spec("genre", "multi_hot", "genres", min_count=2), spec("year", "bins", width=5, min_count=2)],
    )
    assert names(columns) == ["genre=Drama", "year=1990-1994"]
    assert matrix(rows, columns)[2] == [1, 0]


def test_whole_numbers_are_ordered_by_size(spark):
    data = [(1, 100, True, [10, 9]), (2, 9, False, [9]), (3, 25, True, [])]
    df = spark.createDataFrame(data, "item bigint, age int, seen boolean, tags array<int>")
    _, columns = encode(df, "item", [spec("age", "one_hot"), spec("seen", "one_hot"), spec("tag", "multi_hot", "tags")])
    assert names(columns) == ["age=9", "age=25", "age=100", "seen=false", "seen=true", "tag=9", "tag=10"]


def test_zscore_of_classes_counts_rows_with_a_value(movies):
    rows, columns = encode(movies, "item", [spec("year", "bins", width=5, normalise="col_zscore")])
    p, std = 2 / 3, math.sqrt(2 / 9)
    assert [(c.mean, c.std) for c in columns] == [(p, pytest.approx(std)), (pytest.approx(1 - p), pytest.approx(std))]
    found = matrix(rows, columns)
    assert found[1] == pytest.approx([(1 - p) / std, -(1 - p) / std])
    assert found[3] == [0, 0]


def test_zscore_of_numbers(movies, caplog):
    rows, columns = encode(
        movies,
        "item",
        [spec("price", "numeric", normalise="col_zscore"), spec("v", "numeric", "vector", normalise="col_zscore")],
    )
    assert names(columns) == ["price", "v[0]", "v[1]"]
    assert [(c.mean, c.std) for c in columns] == [(20.0, pytest.approx(math.sqrt(200 / 3))), (1.0, 0.0), (6.0, 2.0)]
    found = matrix(rows, columns)
    assert found[1] == pytest.approx([-math.sqrt(1.5), 0, -1])
    assert found[10] == pytest.approx([math.sqrt(1.5), 0, 0])
    assert found[3] == [0, 0, 0]
    assert "1 of 2 columns are constant and become 0: v[0]" in caplog.text


def test_numbers_as_they_are(movies):
    rows, columns = encode(movies, "item", [spec("price", "numeric"), spec("v", "numeric", "vector")])
    assert matrix(rows, columns)[10] == [30, 1, 0]


def test_tables_join_in_full(spark, movies, tmp_path):
    path = str(tmp_path / "embeddings")
    spark.createDataFrame([(2, [0.5, -1.5]), (99, [2.0, 0.0])], "item int, e array<double>").write.parquet(path)
    rows, columns = encode(
        movies.select("item", "genres"),
        "item",
        [spec("e", "numeric", table=path), spec("genre", "multi_hot", "genres", min_count=2)],
    )
    assert names(columns) == ["e[0]", "e[1]", "genre=Drama"]
    assert matrix(rows, columns) == {
        1: [0, 0, 1], 2: [0.5, -1.5, 1], 3: [0, 0, 0], 10: [0, 0, 1], 99: [2, 0, 0]
    }  # fmt: skip


def test_without_groups_every_key_has_an_empty_row(movies):
    rows, columns = encode(movies, "item", [])
    assert columns == []
    assert matrix(rows, columns) == {1: [], 2: [], 3: [], 10: []}


def test_an_empty_table_with_groups(movies, caplog):
    rows, columns = encode(movies.limit(0), "item", [spec("year", "bins", width=5), spec("v", "numeric", "vector")])
    assert (columns, rows.count()) == ([], 0)
    assert "feature group year has no columns" in caplog.text


def test_text_keys(spark):
    df = spark.createDataFrame([("u2", "x"), ("u1", None)], "user string, zip string")
    rows, columns = encode(df, "user", [spec("zip", "one_hot")])
    assert matrix(rows, columns, "user") == {"u1": [0], "u2": [1]}


def test_same_bits_for_any_partitioning_and_order(spark):
    rng = np.random.default_rng(3)
    data = [
        (i, float(x), [float(x) ** 2, 1e8 + float(x)], f"c{int(x) % 7}")
        for i, x in enumerate(rng.lognormal(0, 3, size=120))
    ]
    specs = [
        spec("x", "numeric", normalise="col_zscore"),
        spec("v", "numeric", normalise="col_zscore"),
        spec("c", "one_hot", normalise="col_zscore"),
    ]
    results = []
    for partitions, order in ((1, slice(None)), (7, slice(None, None, -1))):
        df = spark.createDataFrame(data[order], "item bigint, x double, v array<double>, c string")
        rows, columns = encode(df.repartition(partitions), "item", specs)
        results.append((columns, rows.orderBy("item").collect()))
    assert results[0] == results[1]
    assert columns[0].mean == math.fsum(row[1] for row in data) / len(data)


def test_nothing_stays_cached(spark, movies):
    before = persisted(spark)
    encode(movies, "item", [spec("price", "numeric")])[0].collect()
    assert persisted(spark) <= before


def test_missing_columns_are_all_named_with_those_there_are(movies):
    groups = [spec("genre", "multi_hot", "genres"), spec("id", "one_hot", "item")]
    with pytest.raises(ConfigError) as error:
        encode(movies.select("item", "title"), "item", groups)
    assert str(error.value).splitlines() == [
        "item feature group genre: no column genres in the item table; there is: title",
        "item feature group id: no column item in the item table; there is: title",
    ]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (spec("price", "one_hot"), "one_hot needs a string, integer or boolean column, and price is double"),
        (spec("title", "multi_hot"), "multi_hot needs an array of strings or integers, and title is string"),
        (spec("title", "bins", width=1), "bins needs a number column, and title is string"),
        (spec("genres", "numeric"), "needs a number column or an array of numbers, and genres is array<string>"),
    ],
)
def test_kinds_need_their_types(movies, group, message):
    with pytest.raises(ConfigError, match=message):
        encode(movies, "item", [group])


def test_two_groups_of_one_name(movies):
    with pytest.raises(ConfigError, match="item feature group year is listed 2 times"):
        encode(movies, "item", [spec("year", "one_hot"), spec("year", "bins", width=5)])


@pytest.mark.parametrize("group", [spec("p", "numeric", "price"), spec("p", "bins", "price", width=1)])
def test_numbers_that_are_none_name_their_keys(spark, group):
    data = [(7, math.nan), (3, -math.inf), (5, 1.0), (4, math.inf), (8, -1e39), (9, None)]
    df = spark.createDataFrame(data, "item bigint, price double")
    with pytest.raises(DataError, match=r"price of group p: 4 values are NaN, infinite .* first of item 3, 4, 7, 8;"):
        encode(df, "item", [group])


def test_bad_numbers_in_arrays(spark):
    df = spark.createDataFrame([(7, [1.0, math.nan]), (3, [1.0, None])], "item bigint, v array<double>")
    with pytest.raises(DataError, match=r"1 values are NaN, infinite .* item 7"):
        encode(df, "item", [spec("v", "numeric")])


def test_arrays_of_unequal_length(spark):
    df = spark.createDataFrame([(7, [1.0]), (3, [1.0, 2.0]), (1, None)], "item bigint, v array<double>")
    with pytest.raises(DataError, match=r"must have one length, found 1 to 2; shorter than the longest: item 7$"):
        encode(df, "item", [spec("v", "numeric")])


def test_keys_twice_or_null(spark, movies, tmp_path):
    path = str(tmp_path / "t")
    spark.createDataFrame([(4, 1), (4, 2), (None, 3), (5, 1)], "item bigint, x int").write.parquet(path)
    with pytest.raises(DataError, match=r"in the table .*/t; null or more than once: None \(1 rows\), 4 \(2 rows\)$"):
        encode(movies, "item", [spec("x", "one_hot", table=path)])
    with pytest.raises(DataError, match=r"one row in the item table; .* 1 \(2 rows\)"):
        encode(movies.union(movies.where("item = 1")), "item", [spec("year", "one_hot")])


def test_tables_that_cannot_join(spark, movies, tmp_path):
    path = str(tmp_path / "t")
    with pytest.raises(DataError, match="cannot read the table"):
        encode(movies, "item", [spec("x", "one_hot", table=path)])
    spark.createDataFrame([("4", 1)], "item string, x int").write.parquet(path)
    with pytest.raises(DataError, match=r"item is string in the table .* and bigint elsewhere"):
        encode(movies, "item", [spec("x", "one_hot", table=path)])
    with pytest.raises(DataError, match="has no column user; it has item, x"):
        encode(movies.withColumnRenamed("item", "user"), "user", [spec("x", "one_hot", table=path)])


def test_vocabularies_have_a_limit(movies, monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_VALUES", 2)
    with pytest.raises(ConfigError, match="group genre: column genres has more than 2 values; raise min_count"):
        encode(movies, "item", [spec("genre", "multi_hot", "genres")])


def test_groups_that_are_kept_are_numbered_anew(movies):
    rows, columns = encode(movies, "item", [spec("year", "one_hot"), spec("genres", "multi_hot")])
    whole, kept = matrix(rows, columns), [column for column in columns if column.group == "genres"]
    chosen, named = keep_groups(rows, columns, ["genres"])
    assert [(column.index, column.name) for column in named] == [(at, column.name) for at, column in enumerate(kept)]
    assert matrix(chosen, named) == {key: [row[c.index] for c in kept] for key, row in whole.items()}
    assert keep_groups(rows, columns, None) == (rows, columns)
    assert matrix(*keep_groups(rows, columns, [])) == {key: [] for key in whole}
