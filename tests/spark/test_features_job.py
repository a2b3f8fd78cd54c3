"""The step `features` over a small published ingest."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from recsys_spark import lake
from recsys_spark.config import GroupSpec, Settings, step_root
from recsys_spark.errors import NotPublishedError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.features.job import read_columns, run, user_group_specs
from recsys_spark.schema import MOVIES_DDL

MOVIES = [(1, "A (1994)", 1994, ["Drama"]), (2, "B", None, []), (7, "C (1996)", 1996, ["Comedy", "Drama"])]
USERS_DDL = "user bigint, gender string, age int, zip string"
USERS = [(1, "F", 25, "x"), (2, "M", 18, "y"), (3, None, 18, "x")]


def ingested(spark, root: Path, users: bool) -> Settings:
    settings = Settings(workdir=str(root))

    def write(draft: lake.Draft) -> None:
        draft.write_table(spark.createDataFrame(MOVIES, MOVIES_DDL), "movies")
        if users:
            draft.write_table(spark.createDataFrame(USERS, USERS_DDL), "users")

    lake.publish(spark, step_root(settings, "ingest"), step="ingest", settings={"users": users}, inputs={}, write=write)
    return settings


def test_items_and_users_are_published(spark, tmp_path):
    settings = ingested(spark, tmp_path, users=True)
    result = run(spark, settings, argparse.Namespace())
    assert result.metrics == {
        "item_ids": 3, "item_columns": 4, "item_columns_genre": 2, "item_columns_year": 2,
        "user_ids": 3, "user_columns": 4, "user_columns_gender": 2, "user_columns_zip": 2,
    }  # fmt: skip
    path = result.outputs["features"]
    items = {row.item: (row["indices"], row["values"]) for row in lake.read_table(spark, path, "item").collect()}
    assert items == {1: ([1, 2], [1.0, 1.0]), 2: ([], []), 7: ([0, 1, 3], [0.5, 0.5, 1.0])}
    users = {row.user: row["indices"] for row in lake.read_table(spark, path, "user").collect()}
    assert users == {1: [0, 2], 2: [1, 3], 3: [2]}
    assert read_columns(spark, path, "user") == [
        FeatureColumn(0, "gender", "gender=F"),
        FeatureColumn(1, "gender", "gender=M"),
        FeatureColumn(2, "zip", "zip=x"),
        FeatureColumn(3, "zip", "zip=y"),
    ]
    again = run(spark, settings, argparse.Namespace())
    assert again.outputs == result.outputs


def test_without_users_that_side_is_empty(spark, tmp_path):
    result = run(spark, ingested(spark, tmp_path, users=False), argparse.Namespace())
    assert (result.metrics["user_ids"], result.metrics["user_columns"]) == (0, 0)
    assert read_columns(spark, result.outputs["features"], "user") == []


def test_auto_takes_the_text_columns(spark):
    users = spark.createDataFrame([], USERS_DDL)
    assert [(spec.column, spec.kind) for spec in user_group_specs(users, "auto")] == [
        ("gender", "one_hot"),
        ("zip", "one_hot"),
    ]
    own = (GroupSpec(name="age", column="age", kind="one_hot"),)
    assert user_group_specs(users, own) == own


def test_ingest_comes_first(spark, tmp_path):
    with pytest.raises(NotPublishedError, match=r"jobs/ingest.py"):
        run(spark, Settings(workdir=str(tmp_path)), argparse.Namespace())
