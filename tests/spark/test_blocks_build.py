"""Block building on Spark: ratings are read once, checked, and nothing is left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from leaks import persisted
from problems import Problem, problem
from recsys_spark.blocks import encoded
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.transfer import _SETTINGS, fast_transfer
from recsys_spark.errors import DataError


def features(spark: SparkSession, p: Problem) -> dict:
    return {s: spark.createDataFrame(t) for s, t in ((USERS, p.user_features), (ITEMS, p.item_features))}


def records(ratings: EncodedRatings, tables: dict, grid: tuple[int, int]) -> dict[int, bytes]:
    sc = ratings.session.sparkContext
    plan = sc.broadcast(plan_blocks(ratings, tables, (2, 3), grid))
    found = block_records(ratings, tables, plan).collect()
    plan.destroy()
    assert len(found) == len(dict(found))
    return {slot: block.to_bytes() for slot, block in found}


@pytest.mark.parametrize("partitions", [1, 5])
@pytest.mark.parametrize("limit", [encoded.TALLY_LIMIT, 0])
def test_records_are_those_of_one_process(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, partitions: int, limit: int
) -> None:
    monkeypatch.setattr(encoded, "TALLY_LIMIT", limit)
    p = problem()
    plan = p.plan(2, 3)
    tables = {USERS: p.user_features, ITEMS: p.item_features}
    expected = [block.to_bytes() for block in build_blocks(plan, p.ratings.to_batches(), tables)]
    with EncodedRatings(spark.createDataFrame(p.ratings).repartition(partitions)) as ratings:
        found = records(ratings, features(spark, p), (2, 3))
    assert [found[slot] for slot in range(plan.grid.slots)] == expected


def test_string_ids_and_empty_blocks(spark: SparkSession) -> None:
    table = pa.table({"user": ["b", "ä"], "item": ["x", "x"], "rating": [1.0, 2.0]})
    with EncodedRatings(spark.createDataFrame(table)) as ratings:
        assert len(records(ratings, {}, (4, 3))) == 7
        assert plan_blocks(ratings, {}, (0, 0), (1, 1)).user.ids.to_pylist() == ["b", "ä"]


def test_the_ratings_are_computed_once(spark: SparkSession, tmp_path: Path) -> None:
    p, seen = problem(), spark.sparkContext.accumulator(0)

    def counted(batches):
        for batch in batches:
            seen.add(batch.num_rows)
            yield batch

    df = spark.createDataFrame(p.ratings).repartition(3)
    with EncodedRatings(df.mapInArrow(counted, df.schema)) as ratings:
        records(ratings, {}, (2, 2))
        records(ratings, {}, (1, 3))
    assert seen.value == len(p.ratings)


def test_nothing_is_left_behind(spark: SparkSession) -> None:
    before = persisted(spark)
    settings = {key: spark.conf.get(key, None) for key in _SETTINGS}
    df = spark.createDataFrame(problem().ratings)
    with EncodedRatings(df) as ratings:
        records(ratings, {}, (1, 1))
        assert persisted(spark) - before
    with pytest.raises(DataError):
        EncodedRatings(df.withColumn("rating", F.lit(None).cast("double")))
    assert persisted(spark) <= before
    assert {key: spark.conf.get(key, None) for key in _SETTINGS} == settings


def test_settings_are_put_back_by_the_last_one_out(spark: SparkSession) -> None:
    key = "spark.sql.execution.arrow.maxBytesPerBatch"
    spark.conf.set(key, "1234567")
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with fast_transfer(spark):
            entered.set()
            leave.wait(30)

    try:
        with fast_transfer(spark):
            other = threading.Thread(target=hold)
            other.start()
            assert entered.wait(30)
            assert spark.conf.get(key) == _SETTINGS[key]
        assert spark.conf.get(key) == _SETTINGS[key]
        leave.set()
        other.join()
        assert spark.conf.get(key) == "1234567"
    finally:
        spark.conf.unset(key)


def test_bad_ratings_are_refused_with_the_first_offenders(spark: SparkSession) -> None:
    for rows, words in (
        ([(1, 2, float("nan"))], "non-finite rating"),
        ([(1, 2, 1e300)], "non-finite rating.*inf"),
        ([(1, None, 3.0)], "null id"),
        ([(1, 2, None)], "null or non-finite rating"),
    ):
        df = spark.createDataFrame([(5, 6, 4.0), *rows], "user long, item long, rating double")
        with pytest.raises(DataError, match=words):
            EncodedRatings(df)
    weights = spark.createDataFrame([(1, 2, 3.0, -1.0)], "user long, item long, rating double, weight double")
    with pytest.raises(DataError, match=r"negative weight.*-1\.0"):
        EncodedRatings(weights)
    halves = spark.createDataFrame([(1.5, 2, 3.0)], "user double, item long, rating double")
    with pytest.raises(DataError, match="user ids must be integers or strings, found double"):
        EncodedRatings(halves)


def test_ratings_that_are_empty_or_all_held_out_are_refused(spark: SparkSession) -> None:
    ddl = "user long, item long, rating double, held_out boolean"
    for rows in ([], [(1, 2, 3.0, True)]):
        with (
            EncodedRatings(spark.createDataFrame(rows, ddl)) as ratings,
            pytest.raises(DataError, match="no training rating left to index users by"),
        ):
            plan_blocks(ratings, {}, (0, 0), (1, 1))


def test_the_plan_indexes_ratings_and_features(spark: SparkSession) -> None:
    p = problem()
    with EncodedRatings(spark.createDataFrame(p.ratings)) as ratings:
        plan = plan_blocks(ratings, features(spark, p), (2, 3), (0, 0))
    expected = p.plan(2, 2)
    for side in (USERS, ITEMS):
        assert plan.side(side).ids.equals(expected.side(side).ids), SIDE_NAMES[side]
        assert plan.side(side).bounds.tolist() == expected.side(side).bounds.tolist()


def test_features_with_null_ids_are_refused(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(None, [0], [1.0])], "id long, indices array<int>, values array<float>")
    with (
        EncodedRatings(spark.createDataFrame(problem().ratings)) as ratings,
        pytest.raises(DataError, match="1 rows of the user features have a null id"),
    ):
        plan_blocks(ratings, {USERS: rows}, (1, 0), (1, 1))
