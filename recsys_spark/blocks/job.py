"""The step `blocks`: training ratings and features of a split as user blocks and item blocks; driver."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from recsys_spark import lake, schema
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.published import ENTRIES, plan_ids, ranged_ids, write_blocks
from recsys_spark.blocks.source import ROUTED, TableBlocks, shared_side
from recsys_spark.cli import JobResult
from recsys_spark.config import GraphSpec, Settings, step_root
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.features.graph import similarity_graph, table_graph
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
        As `blocks.encoded.EncodedRatings` and `blocks.plan.plan_side`.
    """
    split = lake.current(spark, split_root(settings), "split")
    given = [g.table for g in (settings.blocks.user_graph, settings.blocks.item_graph) if g and g.table]
    featured = lake.current(spark, step_root(settings, "features"), "features")
    chosen = settings.split.model_dump(mode="json", include={"test_fold", "validation_share", "seed"})
    published = lake.publish(
        spark,
        step_root(settings, "blocks"),
        step="blocks",
        settings={"blocks": settings.blocks.model_dump(mode="json"), "split": chosen},
        inputs={"split": split.manifest.version, "features": featured.manifest.version}
        | {table: lake.fingerprint_files(spark, [table]) for table in given},
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
    tables, columns, graphs = {}, [], {}
    for side in (USERS, ITEMS):
        name = SIDE_NAMES[side]
        columns.append(read_columns(spark, featured.path, name))
        rows = lake.read_table(spark, featured.path, name)
        tables[side] = rows.select(F.col(name).alias("id"), schema.INDICES, schema.VALUES)
        spec = settings.blocks.user_graph if side == USERS else settings.blocks.item_graph
        if spec:
            graphs[side] = graph_of(spark, spec, rows, name, columns[side])
    grid = (settings.blocks.users, settings.blocks.items)
    apart = settings.fit.exchange in ROUTED
    with EncodedRatings(known, limit=0 if apart else None) as encoded:
        source = TableBlocks(encoded, tables, (len(columns[USERS]), len(columns[ITEMS])), grid, graphs)
        write = partial(write_blocks, spark, draft, columns=(columns[USERS], columns[ITEMS]))
        if apart:
            with source.ranged(settings.train.rank, shared_side(settings.fit.exchange, source)) as found:
                ids = (ranged_ids(spark, found, USERS), ranged_ids(spark, found, ITEMS))
                extra = write(found.records, found.layout.bounds, ids)
        else:
            plan = spark.sparkContext.broadcast(source.plan)
            try:
                both = source.plan.user, source.plan.item
                ids = (plan_ids(spark, both[USERS]), plan_ids(spark, both[ITEMS]))
                extra = write(source.records(plan), (both[USERS].bounds, both[ITEMS].bounds), ids)
            finally:
                plan.destroy()
    bounds = extra["bounds"]
    counted = spark.read.parquet(f"{draft.path}/{ENTRIES}").where(F.col("side") == SIDE_NAMES[USERS])
    kinds = {row["kind"]: row["count"] for row in counted.groupBy("kind").count().collect()}
    return extra | {
        "metrics": {
            "users": bounds[SIDE_NAMES[USERS]][-1],
            "items": bounds[SIDE_NAMES[ITEMS]][-1],
            "train_ratings": kinds.get("rating", 0),
            "validation_ratings": kinds.get("held_out", 0),
            "user_blocks": len(bounds[SIDE_NAMES[USERS]]) - 1,
            "item_blocks": len(bounds[SIDE_NAMES[ITEMS]]) - 1,
        }
    }


def graph_of(
    spark: SparkSession, spec: GraphSpec, rows: DataFrame, name: str, columns: Sequence[FeatureColumn]
) -> DataFrame:
    """Edges of a side, as its settings ask for."""
    if spec.table:
        edges, kind = spark.read.parquet(spec.table), rows.schema[name].dataType
        return table_graph(edges, kind, top_k=spec.top_k, min_similarity=spec.min_similarity)
    assert spec.top_k is not None
    return similarity_graph(
        rows, name, columns, groups=spec.groups, top_k=spec.top_k, min_similarity=spec.min_similarity
    )
