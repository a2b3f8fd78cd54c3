"""The job "benchmark": contenders on the same rows, in processes of their own; and the kernels beside sgemm. Driver."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from recsys_spark import lake
from recsys_spark.benchmark.choices import choose_blocks
from recsys_spark.benchmark.compare import compare
from recsys_spark.benchmark.convergence import converge
from recsys_spark.benchmark.data import prepare
from recsys_spark.benchmark.heap import smallest_heaps
from recsys_spark.benchmark.kept import Kept
from recsys_spark.benchmark.kernels import kernel_speeds
from recsys_spark.benchmark.memory import require_proc
from recsys_spark.benchmark.report import claims, kernel_metrics, kernel_summary, markdown, summary
from recsys_spark.benchmark.results import metrics_of, record_of
from recsys_spark.benchmark.scaling import scale
from recsys_spark.benchmark.schedule import (
    Bench,
    Found,
    kept_folder,
    require_groups,
    require_packages,
)
from recsys_spark.benchmark.weak import weak
from recsys_spark.cli import JobResult
from recsys_spark.config import BenchmarkSettings, Settings, dataset_slug, step_root
from recsys_spark.config.benchmark import PARTS
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.pages import has_marks, put_between
from recsys_spark.session import build_session, stop_session
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Child, Tracker, track

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

RECORD, TABLE = "record.json", "table.md"
MARK = "benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments; each stands for a setting of its section."""
    parser.add_argument("--rank", type=int, help="width of all contenders' factors (benchmark.rank)")
    parser.add_argument("--repeats", type=int, help="measurements of the two that are compared (benchmark.repeats)")
    parser.add_argument(
        "--contenders", metavar="A,B,...", help="who is measured, or all (benchmark.contenders, benchmark.models)"
    )
    meanings = {
        "compare": "times, errors, memory of every contender",
        "curves": "validation RMSE against seconds, with the comparison",
        "heap": "the smallest heap in which a fit completes (slow)",
        "scaling": "an iteration against ratings, rank and cores (slow)",
        "convergence": "J by iteration with and without relaxation",
        "weak": "an iteration on one executor and on two, with as many users for each",
        "kernels": "the half-sweep beside sgemm",
    }
    for part in PARTS:
        told = f"measure {meanings[part]}; without any of these, what benchmark.sections says"
        parser.add_argument(f"--{part}", action="store_true", help=told)
    parser.add_argument("--fresh", action="store_true", help="measure anew what was measured before")
    parser.add_argument(
        "--write-table",
        nargs=2,
        metavar=("FILE", "RECORD"),
        help="measure nothing: put a record's tables between the marks <!-- benchmark DATASET:begin/end --> of a "
        "Markdown file, its ratios alone between <!-- benchmark DATASET ratios:begin/end -->",
    )


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace, *, keep_session: bool = False) -> JobResult:
    """Measure, and write ``{workdir}/{data set}/benchmark/runs/TIME-COMMIT``: record.json, table.md, figures.

    Outcomes of processes are kept in ``benchmark/processes`` as each ends: the same command, after it was cut short,
    goes on from there.

    Parameters
    ----------
    keep_session : leave `spark` open: it is somebody else's. Otherwise it is stopped while others are measured.

    Raises
    ------
    ConfigError
        An argument is out of range, a contender wants feature groups that there are not, or the file of
        ``--write-table`` has no marks.
    EnvironmentProblem
        No /proc to read memory from, a contender's package is missing, or a measured process failed.
    NotPublishedError, DataError
        As `data.prepare`.
    """
    if args.write_table:
        return _write_table(spark, *args.write_table)
    options = options_of(settings, args)
    about = provenance(spark)
    record: dict[str, Any] = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "dataset": settings.dataset,
        "provenance": about,
        "options": options.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
    }
    metrics: dict[str, float] = {}
    told = []
    if set(options.sections) != {"kernels"}:
        require_proc()
        require_packages(options.chosen)
        prepared = prepare(spark, settings, args)
        require_groups(options.chosen, prepared.groups)
        kept = Kept(_folder(spark, settings), about)
        if args.fresh:
            kept.forget()
        if not keep_session:
            stop_session(spark)
        found = measure_all(Bench(settings, options, prepared, kept), options)
        record |= record_of(found, options, prepared)
        metrics |= metrics_of(record)
        told.append(summary(record))
    if "kernels" in options.sections:
        speeds = kernel_speeds(options.kernel_ranks, options.kernel_ratings)
        record["kernels"] = [asdict(speed) for speed in speeds]
        metrics |= kernel_metrics(speeds)
        told.append(kernel_summary(speeds))
    with _session(spark, keep_session) as opened:
        outputs = _publish(opened, settings, record, metrics)
    return JobResult(metrics, {**outputs, **_identity(about)}, "\n".join([*told, f"Record    {outputs['record']}"]))


def measure_all(bench: Bench, options: BenchmarkSettings) -> Found:
    """The sections that measure processes, one after the other."""
    found = Found()
    choose_blocks(bench, found)
    if {"compare", "curves"} & set(options.sections):
        compare(bench, found)
    if "heap" in options.sections:
        smallest_heaps(bench, found)
    if "scaling" in options.sections:
        scale(bench, found)
    if "convergence" in options.sections:
        converge(bench, found)
    if "weak" in options.sections:
        weak(bench, found)
    return found


def options_of(settings: Settings, args: argparse.Namespace) -> BenchmarkSettings:
    """The section's settings under the job's own arguments.

    Raises
    ------
    ConfigError
        An argument is out of range.
    """
    given = {name: getattr(args, name) for name in ("rank", "repeats") if getattr(args, name) is not None}
    if args.contenders:
        given["contenders"] = [name.strip() for name in args.contenders.split(",") if name.strip()]
    sections = [part for part in PARTS if getattr(args, part)]
    if sections:
        given["sections"] = sections
    try:
        return BenchmarkSettings.model_validate(settings.benchmark.model_dump() | given)
    except ValidationError as error:
        found = [f"--{e['loc'][0]}: {e['msg']}, found {e['input']!r}" if e["loc"] else e["msg"] for e in error.errors()]
        raise ConfigError("; ".join(found)) from None


@contextmanager
def _session(spark: SparkSession, kept: bool) -> Iterator[SparkSession]:
    """A session to write the record with: the one that was kept or is still open, or a new one."""
    if kept or spark.sparkContext._jsc is not None:
        yield spark
        return
    opened = build_session("recsys_spark benchmark")
    try:
        yield opened
    finally:
        stop_session(opened)


def _folder(spark: SparkSession, settings: Settings) -> Path:
    local = lake.local_path(spark, step_root(settings, "benchmark"))
    return kept_folder(local, dataset_slug(settings.dataset))


def _publish(
    spark: SparkSession, settings: Settings, record: dict[str, Any], metrics: Mapping[str, float]
) -> dict[str, str]:
    """Write record, table and figures by one rename, and tell MLflow: a run, and one nested for each contender."""
    about = record["provenance"]
    name = "-".join(filter(None, [_stamp(record["created"]), about.get("git.commit", "")[:12]]))
    root = f"{step_root(settings, 'benchmark')}/runs"
    with tempfile.TemporaryDirectory(prefix="recsys-spark-benchmark-") as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if "contenders" in record:
            from recsys_spark.benchmark.figures import drawn
            from recsys_spark.evaluate.figures import save_figures

            (folder / TABLE).write_text(markdown(record, shown(record)), encoding="utf-8")
            save_figures(drawn(record), folder / "figures")
        lake.copy_from_local(spark, folder, f"{root}/._tmp-{name}")
        if not lake.commit_dir(spark, f"{root}/._tmp-{name}", f"{root}/{name}", RECORD):
            raise DataError(f"{root}/{name} exists: another benchmark ended in the same second; run the command again")
        outputs = {"record": f"{root}/{name}/{RECORD}"}
        with track(settings, "benchmark") as tracker:
            _log(tracker, settings, record, metrics, folder)
            if tracker.run_id:
                outputs["run_id"] = tracker.run_id
    return outputs


def _log(
    tracker: Tracker, settings: Settings, record: Mapping[str, Any], metrics: Mapping[str, float], folder: Path
) -> None:
    tracker.log_settings(settings)
    tracker.log_tags(record["provenance"])
    tracker.log_metrics(metrics)
    tracker.log_directory(folder)
    for name, contender in record.get("contenders", {}).items():
        params = {"kind": contender["kind"], "reg": contender["reg"], "plan": contender["plan"]}
        numbers = {figure: spread["median"] for figure, spread in contender["figures"].items()}
        curve = contender["curve"] or []
        curves = {key: [point[at] for point in curve] for key, at in (("seconds", 1), ("validation_rmse", 2)) if curve}
        tracker.log_child(Child(name, params, numbers, curves))


def shown(record: Mapping[str, Any]) -> dict[str, str]:
    """What a figure is worthless without: data set, commit, machine and date."""
    about = record["provenance"]
    commit = about.get("git.commit", "none")[:12] + (" and changes" if about.get("git.dirty") == "true" else "")
    cores, memory = about.get("machine.cores", "?"), about.get("machine.memory_gib", "?")
    return {
        "data set": str(record["dataset"]).rstrip("/").rpartition("/")[2],
        "commit": commit,
        "machine": f"{about.get('machine.cpu', 'unknown')}, {cores} cores, {memory} GiB",
        "date": record["created"][:10],
    }


def _write_table(spark: SparkSession, file: str, place: str) -> JobResult:
    record = json.loads(lake.read_text(spark, place))
    if "contenders" not in record:
        raise ConfigError(f"{place} holds no contenders: it is the record of --kernels alone")
    page, name = Path(file), f"{MARK} {dataset_slug(record['dataset'])}"
    texts = {name: markdown, f"{name} ratios": claims}
    for mark in [mark for mark in texts if has_marks(page, mark)] or [name]:
        put_between(page, mark, texts[mark](record, shown(record)))
    return JobResult(metrics_of(record), {"table": file}, f"the table is in {file}")


def _stamp(created: str) -> str:
    return datetime.fromisoformat(created).strftime("%Y%m%dT%H%M%SZ")


def _identity(about: Mapping[str, str]) -> dict[str, str]:
    """What a ratio is worthless without: commit and machine."""
    return {key: about[key] for key in ("git.commit", "git.dirty", "machine.cpu", "machine.cores") if key in about}
