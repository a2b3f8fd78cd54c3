"""The step `split`: published under its name, frozen, anew when its settings or ratings change."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from recsys_spark import lake, schema
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.ingest.split_job import run, split_root
from tests.ingest_factory import ingest_settings

ARGS = argparse.Namespace()


def publish_ratings(spark: SparkSession, settings: Settings, rows: int) -> None:
    """What ingest leaves for split: `rows` ratings of 10 users."""
    ratings = spark.range(rows).selectExpr(
        "id % 10 AS user",
        "id DIV 10 AS item",
        "CAST(3.5 AS float) AS rating",
        "timestamp_seconds(1000000 + id) AS timestamp",
    )
    lake.publish(
        spark, step_root(settings, "ingest"), step="ingest", settings={}, inputs={"rows": str(rows)},
        write=lambda draft: draft.write_table(ratings, "ratings") and None,
    )  # fmt: skip


def test_a_split_is_frozen_until_something_that_decides_it_changes(spark: SparkSession, tmp_path: Path) -> None:
    def ask(*overrides: str) -> str:
        return run(spark, ingest_settings(tmp_path, "data", "split.folds=4", *overrides), ARGS).outputs["split"]

    settings = ingest_settings(tmp_path, "data", "split.folds=4")
    publish_ratings(spark, settings, 400)
    result = run(spark, settings, ARGS)
    assert result.metrics["rows"] == 400 == sum(result.metrics[f"fold_{fold}"] for fold in range(4))
    first = result.outputs["split"]
    table = lake.read_table(spark, split_root(settings), "ratings")
    assert table.columns == [schema.USER, schema.ITEM, schema.RATING, schema.TIMESTAMP, schema.FOLD]
    assert first.startswith(f"{tmp_path}/lake/data/splits/folds/")
    assert ask("split.share=0.3", "split.test_fold=2", "split.validation_share=0.2") == first
    assert ask("split.name=other") != first
    assert ask("split.seed=8") not in (first, ask("split.kind=leave_one_out"))
    assert ask() == first
    publish_ratings(spark, settings, 410)
    assert ask() != first


def test_the_two_sides_of_a_holdout_are_reported(spark: SparkSession, tmp_path: Path) -> None:
    settings = ingest_settings(tmp_path, "data", "split.kind=latest_n", "split.n=2")
    publish_ratings(spark, settings, 100)
    assert run(spark, settings, ARGS).metrics == {"rows": 100, "train": 80, "test": 20}


def test_a_split_with_an_empty_side_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    settings = ingest_settings(tmp_path, "data", "split.kind=leave_one_out")
    publish_ratings(spark, settings, 5)
    with pytest.raises(DataError, match=r"split folds \(leave_one_out\) of 5 ratings leaves no test rows \(fold 0\)"):
        run(spark, settings, ARGS)
    with pytest.raises(DataError, match=r"split folds \(kfold\) of 5 ratings leaves no test rows .*change split.folds"):
        run(spark, ingest_settings(tmp_path, "data", "split.folds=30"), ARGS)
    with pytest.raises(DataError, match="leaves no training rows"):
        run(spark, ingest_settings(tmp_path, "data", "split.kind=cold_items", "split.share=0.999"), ARGS)


def test_nothing_ingested(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match=r"run jobs/ingest.py first"):
        run(spark, ingest_settings(tmp_path, "data"), ARGS)
