"""Plain scans of Parquet are read by tasks themselves, everything else through Spark; the chunks are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from leaks import persisted
from problems import problem
from recsys_spark.blocks import build, encoded
from recsys_spark.blocks import scan as module
from recsys_spark.blocks.build import block_records, near_of, plan_blocks
from recsys_spark.blocks.chunks import Chunk
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.residency import BlockStore
from recsys_spark.blocks.rowgroups import Column, Span
from recsys_spark.blocks.scan import plain_scan
from recsys_spark.errors import DataError

DDL = "userId int, movieId long, rating float, held boolean, note string"


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ratings as Spark writes them, in a directory whose name needs quoting."""
    rows = [
        (u, 10**12 + i, (u + i) % 5 + 0.5, (u * i) % 3 == 0 if u else None, f"{i}") for u in range(6) for i in range(7)
    ]
    path = str(tmp_path_factory.mktemp("scan") / "a b%20ü")
    spark.createDataFrame(rows, DDL).repartition(3).write.parquet(path)
    return path


def chosen(df: DataFrame) -> DataFrame:
    """What the estimator makes of a dataset."""
    return df.select(
        F.col("userId").alias("user"),
        F.col("movieId").alias("item"),
        F.col("rating").cast("double").cast("float").alias("rating"),
        F.coalesce(F.col("held").cast("boolean"), F.lit(False)).alias("held_out"),
    )


def in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few ratings be read by several tasks, and their chunks be worth files."""
    monkeypatch.setattr(encoded, "_MIN_TASK", 5)
    monkeypatch.setattr(encoded, "_MIN_FILES", 1)


def entries(ratings: EncodedRatings) -> list[tuple]:
    """All that the chunks hold, in order."""
    found = []
    for data in ratings.chunks().collect():
        c = Chunk.decode(data)
        users = np.repeat(c.users.to_numpy(zero_copy_only=False), c.lengths)
        items = c.items.to_numpy(zero_copy_only=False)[c.codes]
        values = c.levels[c.values] if len(c.levels) else c.values
        found += [(c.held_out, *entry) for entry in zip(users, items, values.tolist(), strict=True)]
    return sorted(found)


def test_a_plain_scan_gives_the_entries_that_spark_gives(
    spark: SparkSession, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = chosen(spark.read.parquet(folder))
    scan = plain_scan(df)
    assert scan is not None
    assert scan[0] == [
        Column("user", "userId", "int"),
        Column("item", "movieId", "bigint"),
        Column("rating", "rating", "float", ("double", "float")),
        Column("held_out", "held", "boolean", (), True),
    ]
    monkeypatch.setattr(encoded, "_MIN_TASK", 5)
    with EncodedRatings(df) as direct:
        assert direct._scanned() is not None
        found, counts = entries(direct), [direct.counts[side].sort_by("id") for side in (0, 1)]
    monkeypatch.setattr(module, "plain_scan", lambda ratings: None)
    with EncodedRatings(df) as through:
        assert entries(through) == found
        assert [through.counts[side].sort_by("id") for side in (0, 1)] == counts
    assert len(found) == 42


def test_renamed_projected_and_identical_selections_are_plain(spark: SparkSession, folder: str) -> None:
    df = spark.read.parquet(folder)
    twice = chosen(df.withColumnRenamed("userId", "u").drop("note").withColumnRenamed("u", "userId"))
    assert plain_scan(twice) is not None
    same = df.select(F.col("userId").alias("user"), F.col("note").alias("item"), "rating")
    assert plain_scan(same) is not None


REFUSED: dict[str, Callable[[SparkSession, DataFrame, str], DataFrame]] = {
    "a filter": lambda spark, df, path: chosen(df.where("userId > 2")),
    "a limit": lambda spark, df, path: chosen(df.limit(3)),
    "a sample": lambda spark, df, path: chosen(df.sample(0.5, seed=1)),
    "a union": lambda spark, df, path: chosen(df.union(df)),
    "a join": lambda spark, df, path: chosen(df.join(df.select("userId").distinct(), "userId", "left_semi")),
    "duplicates dropped": lambda spark, df, path: chosen(df.dropDuplicates()),
    "an explosion": lambda spark, df, path: chosen(df.withColumn("n", F.explode(F.array(F.lit(1), F.lit(2))))),
    "arithmetic": lambda spark, df, path: chosen(df.withColumn("rating", F.col("rating") + 1)),
    "a parsed id": lambda spark, df, path: chosen(df.withColumn("userId", F.col("note").cast("int"))),
    "a narrowed id": lambda spark, df, path: chosen(df.withColumn("movieId", F.col("movieId").cast("int"))),
    "an id as text": lambda spark, df, path: chosen(df.withColumn("movieId", F.col("movieId").cast("string"))),
    "a literal": lambda spark, df, path: chosen(df.withColumn("rating", F.lit(1.0))),
    "nulls held out": lambda spark, df, path: chosen(df.withColumn("held", F.coalesce("held", F.lit(True)))),
    "metadata": lambda spark, df, path: chosen(df.withColumn("userId", F.col("_metadata.file_size"))),
    "options": lambda spark, df, path: chosen(spark.read.option("mergeSchema", "true").parquet(path)),
    "text": lambda spark, df, path: chosen(spark.read.schema(DDL).csv(path)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_scan_is_left_to_spark(spark: SparkSession, folder: str, what: str) -> None:
    assert plain_scan(REFUSED[what](spark, spark.read.parquet(folder), folder)) is None


def test_cached_partitioned_bucketed_and_catalogued_tables_are_left_to_spark(
    spark: SparkSession, folder: str, tmp_path: Path
) -> None:
    df = spark.read.parquet(folder)
    cached = chosen(df).cache()
    try:
        assert plain_scan(cached) is None
    finally:
        cached.unpersist()
    df.write.partitionBy("userId").parquet(str(tmp_path / "by user"))
    assert plain_scan(chosen(spark.read.parquet(str(tmp_path / "by user")))) is None
    df.write.bucketBy(2, "userId").option("path", str(tmp_path / "bucketed")).saveAsTable("scan_bucketed")
    try:
        assert plain_scan(chosen(spark.table("scan_bucketed"))) is None
    finally:
        spark.sql("drop table scan_bucketed")


def test_settings_that_change_what_is_read_are_respected(spark: SparkSession, folder: str) -> None:
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")
    try:
        assert plain_scan(chosen(spark.read.parquet(folder))) is None
    finally:
        spark.conf.unset("spark.sql.files.ignoreCorruptFiles")


def test_files_that_are_not_as_the_schema_says_are_read_through_spark(spark: SparkSession, tmp_path: Path) -> None:
    plain = pa.table({"user": [1, 2], "item": [3, 4], "rating": [1.0, 2.0]})
    pq.write_table(plain, tmp_path / "a.parquet")
    pq.write_table(plain.set_column(0, "user", pa.array([7, 8], pa.int32())), tmp_path / "b.parquet")
    df = spark.read.schema("user long, item long, rating double").parquet(str(tmp_path))
    with EncodedRatings(df) as ratings:
        assert ratings._scanned() is None
        assert ratings.ratings == 4
        assert sorted(ratings.counts[0]["id"].to_pylist()) == [1, 2, 7, 8]


def test_files_that_tasks_cannot_read_are_read_through_spark(
    spark: SparkSession, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object) -> list[list[Span]]:
        return [[Span("/not/on/this/host.parquet", 0, 0, 1)]]

    before = persisted(spark)
    monkeypatch.setattr(module, "spans", elsewhere)
    with EncodedRatings(chosen(spark.read.parquet(folder))) as ratings:
        assert len(entries(ratings)) == 42
    assert persisted(spark) <= before


def test_chunks_that_are_lost_and_cannot_be_read_again_are_missed(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "lost")
    spark.createDataFrame([(1, 2, 3.0)], "user long, item long, rating double").write.parquet(path)
    with EncodedRatings(spark.read.parquet(path)) as ratings:
        assert len(entries(ratings)) == 1
        ratings._coded.unpersist(blocking=True)
        for file in Path(path).glob("*.parquet"):
            file.unlink()
        with pytest.raises(Exception, match="the ratings are no longer those that were read at first"):
            ratings.chunks().collect()


def test_chunks_of_a_plain_scan_lie_in_files_until_they_are_released(
    spark: SparkSession, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(monkeypatch)
    with EncodedRatings(chosen(spark.read.parquet(folder))) as ratings:
        files = BlockStore.here(ratings._store).directory
        assert len(list(files.iterdir())) > 1
    assert not files.exists()


@pytest.mark.parametrize("harm", ["gone", "touched", "cut off", "of another executor"])
def test_chunks_whose_file_is_not_as_it_was_left_are_coded_again(
    spark: SparkSession, folder: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(monkeypatch)
    with EncodedRatings(chosen(spark.read.parquet(folder))) as ratings:
        before = [bytes(chunk) for chunk in ratings.chunks().collect()]
        files = BlockStore.here(ratings._store).directory
        for file in files.iterdir():
            if harm == "gone":
                file.unlink()
            elif harm == "touched":
                file.write_bytes(bytes(file.stat().st_size))
            elif harm == "cut off":
                os.truncate(file, 8)
        if harm == "of another executor":
            files.rename(files.with_suffix(".elsewhere"))
        assert [bytes(chunk) for chunk in ratings.chunks().collect()] == before
        shutil.rmtree(files.with_suffix(".elsewhere"), ignore_errors=True)


def test_chunks_that_are_gone_and_whose_ratings_have_changed_are_missed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(monkeypatch)
    table = pa.table({"user": [1, 2], "item": [3, 4], "rating": [1.0, 2.0]})
    path = tmp_path / "ratings.parquet"
    pq.write_table(table, path)
    with EncodedRatings(spark.read.parquet(str(path))) as ratings:
        for file in BlockStore.here(ratings._store).directory.iterdir():
            file.unlink()
        pq.write_table(table.set_column(2, "rating", pa.array([1.0, None])), path)
        with pytest.raises(Exception, match="the ratings are no longer those that were read at first"):
            ratings.chunks().collect()
        path.unlink()
        with pytest.raises(Exception, match="the ratings are no longer those that were read at first"):
            ratings.chunks().collect()


def test_features_are_read_by_tasks_and_through_spark_to_the_same_records(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem()
    tables = {}
    for side, table in ((USERS, p.user_features), (ITEMS, p.item_features)):
        spark.createDataFrame(table).repartition(2).write.parquet(f"{tmp_path}/{side}")
        tables[side] = spark.read.parquet(f"{tmp_path}/{side}").select("id", "indices", "values")
        assert plain_scan(tables[side]) is not None
    found = []
    with EncodedRatings(spark.createDataFrame(p.ratings)) as ratings:
        for plain in (True, False):
            if not plain:
                monkeypatch.setattr(module, "plain_scan", lambda table: None)
            plan = spark.sparkContext.broadcast(plan_blocks(ratings, tables, (2, 3), (2, 2)))
            found.append({s: b.to_bytes() for s, b in block_records(ratings, tables, plan).collect()})
            plan.destroy()
    assert found[0] == found[1]


@pytest.mark.parametrize("harm", ["none", "gone", "released"])
def test_blocks_of_what_is_near_are_those_of_the_shuffle(
    spark: SparkSession, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem()
    spark.createDataFrame(p.ratings).repartition(3).write.parquet(f"{tmp_path}/ratings")
    rows = spark.read.parquet(f"{tmp_path}/ratings")
    spark.createDataFrame(p.item_features).repartition(2).write.parquet(f"{tmp_path}/items")
    # Items' features are files that tasks can read, users' are not.
    tables = {
        USERS: spark.createDataFrame(p.user_features),
        ITEMS: spark.read.parquet(f"{tmp_path}/items").select("id", "indices", "values"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(encoded, "is_local", lambda master: False)
        with EncodedRatings(rows) as ratings:
            assert ratings.files is None
            plan = spark.sparkContext.broadcast(plan_blocks(ratings, tables, (2, 3), (2, 3)))
            expected = {s: b.to_bytes() for s, b in block_records(ratings, tables, plan).collect()}
    in_files(monkeypatch)
    with EncodedRatings(rows) as ratings:
        assert ratings.files is not None
        assert len(ratings.files) > 1
        records = block_records(ratings, tables, plan)
        alone = block_records(ratings, {ITEMS: tables[ITEMS]}, plan)
        if harm == "gone":
            shutil.rmtree(BlockStore.here(ratings._store).directory)
        if harm == "released":
            ratings.close()
        assert {s: b.to_bytes() for s, b in records.collect()} == expected
        assert b"Shuffled" in records.toDebugString()
        assert {s: b.to_bytes() for s, b in alone.collect() if s >= 2} == {s: expected[s] for s in (2, 3, 4)}
        assert b"Shuffled" not in alone.toDebugString()
        monkeypatch.setattr(build, "_MOST_NEAR", 2)
        assert near_of(ratings, tables, plan.value.grid) is None
    plan.destroy()


def test_near_ratings_that_have_changed_are_missed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(monkeypatch)
    path = tmp_path / "ratings.parquet"
    pq.write_table(pa.table({"user": [1, 2], "item": [3, 4], "rating": [1.0, 2.0]}), path)
    with EncodedRatings(spark.read.parquet(str(path))) as ratings:
        plan = spark.sparkContext.broadcast(plan_blocks(ratings, {}, (0, 0), (1, 1)))
        records = block_records(ratings, {}, plan)
    path.unlink()
    with pytest.raises(Exception, match="the ratings are no longer those that were read at first"):
        records.collect()
    plan.destroy()


def test_bad_rows_of_a_plain_scan_raise_the_same_error(spark: SparkSession, tmp_path: Path) -> None:
    for n, (user, rating) in enumerate([(None, 1.0), (1, 1e300), (1, None)]):
        pq.write_table(
            pa.table({"user": pa.array([user], pa.int64()), "item": [3], "rating": pa.array([rating], pa.float64())}),
            tmp_path / f"{n}.parquet",
        )
        with pytest.raises(DataError, match="ratings hold rows with a null id, a null or non-finite rating"):
            EncodedRatings(spark.read.parquet(str(tmp_path / f"{n}.parquet")))
