"""The job "benchmark": BlockALS beside pyspark.ml.ALS on the same rows, or the kernels beside sgemm. Driver."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from recsys_spark import lake
from recsys_spark.benchmark.convergence import curve
from recsys_spark.benchmark.data import Prepared, prepare
from recsys_spark.benchmark.kernels import kernel_speeds
from recsys_spark.benchmark.memory import require_proc
from recsys_spark.benchmark.ours import Ours
from recsys_spark.benchmark.report import (
    convergence_metrics,
    convergence_summary,
    kernel_metrics,
    kernel_summary,
    scaling_metrics,
    scaling_summary,
)
from recsys_spark.benchmark.scaling import iteration_seconds
from recsys_spark.benchmark.spec import KNOWN
from recsys_spark.benchmark.trials import compare
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.config.tree import BenchmarkSettings
from recsys_spark.errors import ConfigError
from recsys_spark.session import build_session
from recsys_spark.tracking.provenance import provenance

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments; each stands for a setting of its section."""
    parser.add_argument("--rank", type=int, help="width of both contenders' factors (benchmark.rank)")
    parser.add_argument("--repeats", type=int, help="measurements of each contender (benchmark.repeats)")
    parser.add_argument(
        "--kernels", action="store_true", help="measure the half-sweep beside sgemm instead: no data, no fit"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="measure BlockALS's iteration on shares of the data set's users instead"
    )
    parser.add_argument(
        "--convergence", action="store_true", help="compare iterations of BlockALS with and without relaxation instead"
    )


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace, *, keep_session: bool = False) -> JobResult:
    """Measure, and write the record as ``{workdir}/{data set}/benchmark/runs/TIME-COMMIT.json``.

    Parameters
    ----------
    keep_session : leave `spark` open: it is somebody else's. Otherwise it is stopped while others are measured.

    Raises
    ------
    ConfigError
        ``--rank`` or ``--repeats`` is out of range.
    EnvironmentProblem
        No /proc to read memory from, or a measured process failed.
    NotPublishedError, DataError
        As `data.prepare`.
    """
    options = options_of(settings, args)
    about = {"provenance": provenance(spark), "options": options.model_dump(mode="json")}
    if args.kernels:
        speeds = kernel_speeds(options.kernel_ranks, options.kernel_ratings)
        metrics, summary = kernel_metrics(speeds), kernel_summary(speeds)
        record: dict[str, Any] = {"kernels": [asdict(speed) for speed in speeds]}
        path = _write(spark, settings, {**about, **record})
        return JobResult(metrics, {"record": path, **_identity(about)}, summary)

    require_proc()
    prepared = prepare(spark, settings, args)
    if args.scaling:
        return _scaling(spark, settings, options, prepared, about)
    if args.convergence:
        return _convergence(spark, settings, options, prepared, about)
    if not keep_session:
        spark.stop()
    with tempfile.TemporaryDirectory(prefix="recsys-spark-kernels-") as kernels:
        found = compare(settings, options, prepared, kernels)
    chosen = {"settings": settings.model_dump(mode="json"), "dataset": settings.dataset}
    with _session(spark, keep_session) as open_spark:
        path = _write(open_spark, settings, {**about, **chosen, **found.record()})
    outputs = {"record": path, "blas": found.blas, **_identity(about)}
    return JobResult(found.metrics(), outputs, found.summary())


def _scaling(
    spark: SparkSession, settings: Settings, options: BenchmarkSettings, prepared: Prepared, about: dict[str, Any]
) -> JobResult:
    ratings = lake.read_table(spark, prepared.data, KNOWN)
    ours = Ours(spark, prepared.features, settings.train.model_copy(update={"rank": options.rank}))
    found = iteration_seconds(ours, ratings, options.shares, options.iterations)
    path = _write(spark, settings, {**about, "scaling": [asdict(scaled) for scaled in found]})
    return JobResult(scaling_metrics(found), {"record": path, **_identity(about)}, scaling_summary(found))


def _convergence(
    spark: SparkSession, settings: Settings, options: BenchmarkSettings, prepared: Prepared, about: dict[str, Any]
) -> JobResult:
    ratings = lake.read_table(spark, prepared.data, KNOWN)
    ours = Ours(spark, prepared.features, settings.train)
    plain, relaxed = (curve(ours, ratings, r, options.curve) for r in (1.0, settings.train.relaxation))
    path = _write(spark, settings, {**about, "convergence": [asdict(plain), asdict(relaxed)]})
    outputs = {"record": path, **_identity(about)}
    return JobResult(convergence_metrics(plain, relaxed), outputs, convergence_summary(plain, relaxed))


def options_of(settings: Settings, args: argparse.Namespace) -> BenchmarkSettings:
    """The section's settings under the job's own arguments.

    Raises
    ------
    ConfigError
        An argument is out of range.
    """
    given = {name: getattr(args, name) for name in ("rank", "repeats") if getattr(args, name) is not None}
    try:
        return BenchmarkSettings.model_validate(settings.benchmark.model_dump() | given)
    except ValidationError as error:
        found = [f"--{e['loc'][0]}: {e['msg']}, found {e['input']!r}" for e in error.errors()]
        raise ConfigError("; ".join(found)) from None


@contextmanager
def _session(spark: SparkSession, kept: bool) -> Iterator[SparkSession]:
    """A session to write the record with: the one that was kept, or a new one."""
    if kept:
        yield spark
        return
    opened = build_session("recsys_spark benchmark")
    try:
        yield opened
    finally:
        opened.stop()


def _write(spark: SparkSession, settings: Settings, record: dict[str, Any]) -> str:
    now = datetime.now(timezone.utc)
    commit = record["provenance"].get("git.commit", "")[:12]
    name = "-".join(filter(None, [now.strftime("%Y%m%dT%H%M%SZ"), commit]))
    path = f"{step_root(settings, 'benchmark')}/runs/{name}.json"
    text = json.dumps({"created": now.isoformat(timespec="seconds"), **record}, indent=2, ensure_ascii=False)
    lake.write_text(spark, path, text + "\n")
    return path


def _identity(about: dict[str, Any]) -> dict[str, str]:
    """What a ratio is worthless without: commit and machine."""
    tags = about["provenance"]
    return {key: tags[key] for key in ("git.commit", "git.dirty", "machine.cpu", "machine.cores") if key in tags}
