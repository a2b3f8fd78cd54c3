"""The step `ingest`: a release of ratings becomes checked, typed Parquet; driver."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.ingest.raw import RawRelease, find_release
from recsys_spark.ingest.releases import CITATION, Scale, scale_of
from recsys_spark.ingest.report import summary
from recsys_spark.ingest.source import Source, resolve
from recsys_spark.ingest.write import measure, write_tables
from recsys_spark.redact import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish `ratings`, `movies`, `users` (where there are any) and `rejected` of the data set.

    The manifest's `extra` holds the release's name, origin and folder, its scale (low, high, step), the citation that
    its terms ask for, the account of every table, the reasons for rejection with their counts, and the metrics.

    Raises
    ------
    DataError
        The release cannot be found or used, or more of it than ``ingest.max_rejected_share`` is bad.
    """
    source = resolve(spark, settings)
    release = find_release(spark, source.folder)
    scale = (
        Scale(*settings.ingest.scale) if settings.ingest.scale else scale_of(release.layout, release.users is not None)
    )
    max_share = settings.ingest.max_rejected_share
    published = lake.publish(
        spark,
        step_root(settings, "ingest"),
        step="ingest",
        settings={"scale": dataclasses.asdict(scale), "max_rejected_share": max_share},
        inputs={table.kind: lake.fingerprint_files(spark, table.files) for table in release.tables},
        write=lambda draft: _write(spark, draft, source, release, scale, max_share),
    )
    extra = published.manifest.extra
    log.info("%s%s", extra["summary"], "\n  (as at the last ingest: nothing has changed)" if published.reused else "")
    outputs = {name: published.table(name) for name in sorted(published.manifest.tables)}
    return JobResult(metrics=extra["metrics"], outputs={"ingest": published.path, **outputs})


def _write(
    spark: SparkSession, draft: lake.Draft, source: Source, release: RawRelease, scale: Scale, max_share: float
) -> dict[str, Any]:
    accounts, reasons = write_tables(spark, draft, release, scale, max_share)
    metrics = measure(spark, draft, accounts)
    return {
        "release": source.name,
        "origin": source.origin,
        "folder": redact(source.folder),
        "layout": release.layout.name,
        "scale": dataclasses.asdict(scale),
        "citation": CITATION if source.cite else None,
        "accounts": {kind: dataclasses.asdict(account) for kind, account in accounts.items()},
        "rejected_by_reason": reasons,
        "metrics": metrics | {f"rejected_{reason.replace(' ', '_')}": count for reason, count in reasons.items()},
        "summary": summary(source.name, accounts, metrics, reasons),
    }
