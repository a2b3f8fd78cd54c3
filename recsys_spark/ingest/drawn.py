"""A generated data set straight as the lake's tables: the rows that its release would give, without text. Driver.

For sizes at which a release is not worth its room and time: no text is written or parsed, and no oracle is measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_spark import schema
from recsys_spark.generate.release import movies_csv, packed_ratings, rating_rows, users_csv
from recsys_spark.generate.world import World
from recsys_spark.ingest.parse import RowFunction, movie, user
from recsys_spark.ingest.report import Account

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recsys_spark.lake import Draft


def write_drawn(spark: SparkSession, draft: Draft, world: World) -> dict[str, Account]:
    """Write ratings, movies, users, and no rejected line, into a draft; their accounts."""
    for name, text, row, ddl in (
        ("movies", movies_csv(world), movie, schema.MOVIES_DDL),
        ("users", users_csv(world), user, f"{schema.USER} bigint, `group` string"),
    ):
        draft.write_table(_rows(spark, text, row, ddl), name)
    draft.write_table(spark.createDataFrame([], schema.REJECTED_DDL).coalesce(1), "rejected")
    broadcast = spark.sparkContext.broadcast(world)
    try:
        draft.write_table(_ratings(rating_rows(packed_ratings(spark, world, broadcast), broadcast)), "ratings")
    finally:
        broadcast.destroy()
    kept = {name: draft.tables[name].rows for name in ("ratings", "movies", "users")}
    return {name: Account(name, read=rows, rejected=0, duplicates=0, kept=rows) for name, rows in kept.items()}


def _rows(spark: SparkSession, text: str, row: RowFunction, ddl: str) -> DataFrame:
    found: Iterable[dict[str, Any]] = map(row, csv.DictReader(io.StringIO(text, newline="")))
    return spark.createDataFrame(pa.Table.from_pylist(list(found)), ddl).coalesce(1)


def _ratings(rows: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return rows.select(
        F.col("userId").alias(schema.USER),
        F.col("movieId").alias(schema.ITEM),
        F.col("rating").cast("float").alias(schema.RATING),
        F.timestamp_seconds("timestamp").alias(schema.TIMESTAMP),
    )
