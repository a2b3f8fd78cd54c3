"""The step `blocks`: training ratings and features of a split as user blocks and item blocks; driver."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from recsys_spark import lake, schema
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.published import ENTRIES, write_blocks
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.features.job import read_columns
from recsys_spark.ingest.split_job import RATINGS, split_root
from recsys_spark.ingest.splits import parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish the blocks of the split's training part; its validation part lies beside the user blocks.

    Raises
    ------
    NotPublishedError
        The data set is not split, or has no features yet.
    DataError
        As `blocks.build.plan_blocks`.
    """
    split = lake.current(spark, split_root(settings), "split")
    featured = lake.current(spark, step_root(settings, "features"), "features")
    chosen = settings.split.model_dump(mode="json", include={"test_fold", "validation_share", "seed"})
    published = lake.publish(
        spark,
        step_root(settings, "blocks"),
        step="blocks",
        settings={"blocks": settings.blocks.model_dump(mode="json"), "split": chosen},
        inputs={"split": split.manifest.version, "features": featured.manifest.version},
        write=lambda draft: _write(spark, draft, lake.read_table(spark, split.path, RATINGS), featured, settings),
    )
    metrics = published.manifest.extra["metrics"]
    log.info(
        "blocks: %s%s",
        ", ".join(f"{name} {value:,}" for name, value in metrics.items()),
        "; as at the last run: nothing has changed" if published.reused else "",
    )
    return JobResult(metrics=metrics, outputs={"blocks": published.path, ENTRIES: published.table(ENTRIES)})


def _write(
    spark: SparkSession, draft: lake.Draft, ratings: DataFrame, featured: lake.Published, settings: Settings
) -> dict[str, Any]:
    chosen = settings.split
    labelled = parts(ratings, chosen.test_fold, chosen.validation_share, chosen.seed)
    known = labelled.where(F.col(schema.PART) != schema.TEST).select(
        schema.USER, schema.ITEM, schema.RATING, (F.col(schema.PART) == schema.VALIDATION).alias("held_out")
    )
    tables, columns = {}, []
    for side in (USERS, ITEMS):
        name = SIDE_NAMES[side]
        columns.append(read_columns(spark, featured.path, name))
        rows = lake.read_table(spark, featured.path, name)
        tables[side] = rows.select(F.col(name).alias("id"), schema.INDICES, schema.VALUES)
    grid = (settings.blocks.users, settings.blocks.items)
    made = plan_blocks(known, tables, (len(columns[USERS]), len(columns[ITEMS])), grid)
    plan = spark.sparkContext.broadcast(made)
    try:
        extra = write_blocks(spark, draft, block_records(known, tables, plan), made, (columns[USERS], columns[ITEMS]))
    finally:
        plan.destroy()
    counted = spark.read.parquet(f"{draft.path}/{ENTRIES}").where(F.col("side") == SIDE_NAMES[USERS])
    kinds = {row["kind"]: row["count"] for row in counted.groupBy("kind").count().collect()}
    return extra | {
        "metrics": {
            "users": len(made.user.ids),
            "items": len(made.item.ids),
            "train_ratings": kinds.get("rating", 0),
            "validation_ratings": kinds.get("held_out", 0),
            "user_blocks": made.user.n_blocks,
            "item_blocks": made.item.n_blocks,
        }
    }
