"""The step `split`: a named split of the ingested ratings, frozen; driver."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from recsys_spark import lake, schema
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, SplitSettings, step_root
from recsys_spark.errors import DataError
from recsys_spark.ingest.splits import split

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

RATINGS = "ratings"
"""The split's one table: the ratings with their fold."""

_DECIDING = {
    "kfold": ("folds", "seed"),
    "latest_n": ("n", "seed"),
    "leave_one_out": ("seed",),
    "cold_items": ("share", "seed"),
    "time_cut": ("cut", "share"),
}
"""The settings that a kind of split uses: others may change without a new version."""


def split_root(settings: Settings) -> str:
    """Where the settings' split is published."""
    return step_root(settings, f"splits/{settings.split.name}")


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish `ratings` with `fold` under ``splits/<name>``; the same name, settings and ratings are split once.

    Raises
    ------
    NotPublishedError
        The data set has not been ingested.
    DataError
        The split leaves nothing to test, or nothing to train on.
    """
    ingested = lake.current(spark, step_root(settings, "ingest"), "ingest")
    published = lake.publish(
        spark,
        split_root(settings),
        step="split",
        settings=_deciding(settings.split),
        inputs={"ratings": ingested.manifest.version},
        write=lambda draft: _write(spark, draft, ingested.path, settings.split),
    )
    metrics = published.manifest.extra["metrics"]
    log.info(
        "split %s (%s): %s%s",
        settings.split.name,
        settings.split.kind,
        ", ".join(f"{name} {value:,}" for name, value in metrics.items()),
        "; frozen, as it was" if published.reused else "",
    )
    return JobResult(metrics=metrics, outputs={"split": published.path, "ratings": published.table(RATINGS)})


def _deciding(settings: SplitSettings) -> dict[str, Any]:
    values = settings.model_dump(mode="json", include={"kind", *_DECIDING[settings.kind]})
    if values.get("cut") is not None:
        del values["share"]
    return values


def _write(spark: SparkSession, draft: lake.Draft, ingested: str, settings: SplitSettings) -> dict[str, Any]:
    draft.write_table(split(lake.read_table(spark, ingested, "ratings"), settings), RATINGS)
    counted = spark.read.parquet(f"{draft.path}/{RATINGS}").groupBy(schema.FOLD).count().collect()
    sizes = {int(row[schema.FOLD]): int(row["count"]) for row in counted}
    expected = range(settings.folds) if settings.kind == "kfold" else (-1, 0)
    empty = [fold for fold in expected if fold not in sizes]
    if empty:
        what = "training" if empty == [-1] else "test"
        raise DataError(
            f"split {settings.name} ({settings.kind}) of {sum(sizes.values()):,} ratings leaves no {what} rows "
            f"(fold {', '.join(map(str, empty))}): change split.{_DECIDING[settings.kind][0]}"
        )
    names = {-1: "train", 0: "test"} if settings.kind != "kfold" else {fold: f"fold_{fold}" for fold in sizes}
    return {
        "name": settings.name,
        "metrics": {"rows": sum(sizes.values())} | {names[fold]: sizes[fold] for fold in sorted(sizes)},
    }
