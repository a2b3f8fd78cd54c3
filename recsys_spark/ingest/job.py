"""The step `ingest`: a release of ratings becomes checked, typed Parquet; driver."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.generate.preset import PRESETS, find_preset
from recsys_spark.generate.world import draw_world
from recsys_spark.ingest.drawn import write_drawn
from recsys_spark.ingest.raw import RawRelease, find_release
from recsys_spark.ingest.releases import CITATION, CSV, Scale, scale_of
from recsys_spark.ingest.report import Account, summary
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
    published = _drawn(spark, settings) if _is_drawn(settings) else _ingested(spark, settings)
    extra = published.manifest.extra
    log.info("%s%s", extra["summary"], "\n  (as at the last ingest: nothing has changed)" if published.reused else "")
    outputs = {name: published.table(name) for name in sorted(published.manifest.tables)}
    return JobResult(metrics=extra["metrics"], outputs={"ingest": published.path, **outputs})


def _is_drawn(settings: Settings) -> bool:
    """Whether the data set is a preset that goes into the lake without a release."""
    return settings.dataset in PRESETS and not settings.generate.csv


def _drawn(spark: SparkSession, settings: Settings) -> lake.Published:
    preset, seed = find_preset(settings.dataset), settings.generate.seed
    scale = scale_of(CSV, has_users=True)
    source = Source(settings.dataset, "", f"drawn, seed {seed}", cite=False)

    def write(draft: lake.Draft) -> dict[str, Any]:
        accounts = write_drawn(spark, draft, draw_world(preset, seed))
        return _extra(source, "none", scale, accounts, measure(spark, draft, accounts), {})

    return lake.publish(
        spark,
        step_root(settings, "ingest"),
        step="ingest",
        settings={"preset": dataclasses.asdict(preset), "seed": seed},
        inputs={},
        write=write,
    )


def _ingested(spark: SparkSession, settings: Settings) -> lake.Published:
    source = resolve(spark, settings)
    release = find_release(spark, source.folder)
    scale = (
        Scale(*settings.ingest.scale) if settings.ingest.scale else scale_of(release.layout, release.users is not None)
    )
    max_share = settings.ingest.max_rejected_share
    return lake.publish(
        spark,
        step_root(settings, "ingest"),
        step="ingest",
        settings={"scale": dataclasses.asdict(scale), "max_rejected_share": max_share},
        inputs={table.kind: lake.fingerprint_files(spark, table.files) for table in release.tables},
        write=lambda draft: _write(spark, draft, source, release, scale, max_share),
    )


def _write(
    spark: SparkSession, draft: lake.Draft, source: Source, release: RawRelease, scale: Scale, max_share: float
) -> dict[str, Any]:
    accounts, reasons = write_tables(spark, draft, release, scale, max_share)
    return _extra(source, release.layout.name, scale, accounts, measure(spark, draft, accounts), reasons)


def _extra(
    source: Source,
    layout: str,
    scale: Scale,
    accounts: dict[str, Account],
    metrics: dict[str, float],
    reasons: dict[str, int],
) -> dict[str, Any]:
    return {
        "release": source.name,
        "origin": source.origin,
        "folder": redact(source.folder),
        "layout": layout,
        "scale": dataclasses.asdict(scale),
        "citation": CITATION if source.cite else None,
        "accounts": {kind: dataclasses.asdict(account) for kind, account in accounts.items()},
        "rejected_by_reason": reasons,
        "metrics": metrics | {f"rejected_{reason.replace(' ', '_')}": count for reason, count in reasons.items()},
        "summary": summary(source.name, accounts, metrics, reasons),
    }
