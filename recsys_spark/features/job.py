"""The step `features`: named groups of item and user features, as sparse rows and a list of columns; driver."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recsys_spark import lake, schema
from recsys_spark.cli import JobResult
from recsys_spark.config import GroupSpec, Settings, step_root
from recsys_spark.features.columns import COLUMNS_DDL, FeatureColumn, columns_from_table, columns_to_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish `item`, `item_columns`, `user` and `user_columns`; those of the users may be empty.

    Raises
    ------
    NotPublishedError
        The data set has not been ingested.
    ConfigError, DataError
        As :func:`recsys_spark.features.encode.encode`.
    """
    ingested = lake.current(spark, step_root(settings, "ingest"), "ingest")
    items = lake.read_table(spark, ingested.path, "movies")
    users = _users(spark, ingested)
    item_groups, user_groups = settings.features.item, user_group_specs(users, settings.features.user)
    tables = sorted({group.table for group in (*item_groups, *user_groups) if group.table})
    inputs = {table: lake.fingerprint_files(spark, [table]) for table in tables}
    published = lake.publish(
        spark,
        step_root(settings, "features"),
        step="features",
        settings={
            "item": [group.model_dump(mode="json") for group in item_groups],
            "user": [group.model_dump(mode="json") for group in user_groups],
        },
        inputs={"ingest": ingested.manifest.version} | inputs,
        write=lambda draft: {
            "metrics": _write_side(spark, draft, items, schema.ITEM, item_groups)
            | _write_side(spark, draft, users, schema.USER, user_groups)
        },
    )
    metrics = published.manifest.extra["metrics"]
    log.info(
        "features: %s%s",
        ", ".join(f"{name} {value:,}" for name, value in metrics.items()),
        "; as at the last run: nothing has changed" if published.reused else "",
    )
    return JobResult(metrics=metrics, outputs={"features": published.path})


def user_group_specs(users: DataFrame, groups: str | Sequence[GroupSpec]) -> tuple[GroupSpec, ...]:
    """The groups of user features; for "auto" a one_hot group of each text column beside the key."""
    if not isinstance(groups, str):
        return tuple(groups)
    texts = [name for name, kind in users.dtypes if kind == "string" and name != schema.USER]
    return tuple(GroupSpec(name=name, column=name, kind="one_hot") for name in texts)


def read_columns(spark: SparkSession, features: str, side: str) -> list[FeatureColumn]:
    """What the columns of a side ("item" or "user") are, from the features' version directory.

    Raises
    ------
    NotPublishedError
        There are no features in that directory.
    """
    return columns_from_table(lake.collect_table(spark, features, f"{side}_columns"))


def _users(spark: SparkSession, ingested: lake.Published) -> DataFrame:
    """The users table; one without rows or columns beside the key where the release has none."""
    if "users" in ingested.manifest.tables:
        return lake.read_table(spark, ingested.path, "users")
    return spark.createDataFrame([], f"{schema.USER} bigint")


def _write_side(
    spark: SparkSession, draft: lake.Draft, df: DataFrame, key: str, groups: Sequence[GroupSpec]
) -> dict[str, Any]:
    """Write the tables `key` and `key`_columns; measures: ids, columns and, by group, columns."""
    from recsys_spark.features.encode import encode

    rows, columns = encode(df, key, groups)
    ids = draft.write_table(rows.sortWithinPartitions(key), key).rows
    table = spark.createDataFrame(columns_to_table(columns).to_pylist(), COLUMNS_DDL)
    draft.write_table(table.coalesce(1), f"{key}_columns")
    by_group = Counter(column.group for column in columns)
    return {f"{key}_ids": ids, f"{key}_columns": len(columns)} | {
        f"{key}_columns_{group.name}": by_group[group.name] for group in groups
    }
