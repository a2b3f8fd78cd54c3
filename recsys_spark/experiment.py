"""A training and all that belongs to it: the steps in their order, each told to the one MLflow run of the training."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.model_io import save_model
from recsys_spark.als.spread import SpreadModel
from recsys_spark.blocks import job as blocks_job
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, dataset_slug, step_root
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.evaluate import job as evaluate_job
from recsys_spark.features import job as features_job
from recsys_spark.ingest import job as ingest_job
from recsys_spark.ingest import split_job
from recsys_spark.ml.job import model_path, train_published
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.score import job as score_job
from recsys_spark.score.source import REGISTRY, Source, load_source
from recsys_spark.summary import sample_recommendations, summarise
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Tracker, fetch_model, track

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from recsys_spark.tracking.datasets import DataSet

log = logging.getLogger(__name__)


def train(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Train on the current blocks and log the training as one run; nothing is trained twice."""

    def around(fit: Callable[[], BlockALSModel]) -> dict[str, Any]:
        with track(settings, "train") as tracker:
            tracker.log_settings(settings)
            tracker.log_tags(provenance(spark))
            for data in _datasets(spark, settings):
                tracker.log_dataset(data)
            trained = fit().trained
            tracker.log_history(trained.history)
            if isinstance(trained, SpreadModel):
                log.info("train: no process holds the model's rows, so MLflow gets none; they are in the lake")
            else:
                with tempfile.TemporaryDirectory(prefix="recsys-spark-model-") as scratch:
                    save_model(trained, Path(scratch) / "model")
                    tracker.log_model(Path(scratch) / "model")
            return {"run_id": tracker.run_id, "model_id": tracker.model_id}

    published = train_published(spark, settings, around)
    extra = published.manifest.extra
    again = "; as at the last run: nothing has changed" if published.reused else ""
    log.info("train: %s%s", extra["stop_reason"], again)
    outputs = {"model": model_path(published)} | ({"run_id": extra["run_id"]} if extra["run_id"] else {})
    return JobResult(metrics=extra["metrics"], outputs=outputs)


def evaluate(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Evaluate the current model and log metrics and figures to the run that trained it."""
    result = evaluate_job.run(spark, settings, args)

    def tell(tracker: Tracker) -> None:
        tracker.log_metrics(result.metrics, _test_set(spark, settings))
        with tempfile.TemporaryDirectory(prefix="recsys-spark-evaluation-") as scratch:
            lake.copy_to_local(spark, result.outputs["figures"], Path(scratch) / "figures")
            tracker.log_directory(Path(scratch) / "figures", "figures")
        tracker.log_text(lake.read_text(spark, result.outputs["metrics"]), "metrics.json")

    trained = lake.current(spark, step_root(settings, "train"), "train")
    _tell_run(settings, trained.manifest.extra.get("run_id"), tell)
    return result


def score(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Score every user with the current model or a registered one; the run that trained it gets a readable sample."""
    source = source_of(spark, settings)
    result = score_job.run(spark, settings, args, source)
    sample = sample_recommendations(spark, settings, spark.read.parquet(result.outputs["recommendations"]))
    _tell_run(settings, source.facts.get("run_id"), lambda tracker: tracker.log_table(sample, "sample_recommendations"))
    return result


def source_of(spark: SparkSession, settings: Settings) -> Source:
    """The model that ``score.model`` names, wherever it is; errors as `load_source` and `fetch_model`."""
    uri = settings.score.model
    if uri is None or not uri.startswith(REGISTRY):
        return load_source(spark, settings)
    return Source(*fetch_model(settings, uri))


def pipeline(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Every step in order, with a summary for people; steps whose output is current are not done again."""
    steps = {
        "ingest": ingest_job.run,
        "split": split_job.run,
        "features": features_job.run,
        "blocks": blocks_job.run,
        "train": train,
        "evaluate": evaluate,
        "score": score,
    }
    results: dict[str, JobResult] = {}
    for number, (name, step) in enumerate(steps.items(), 1):
        log.info("step %d of %d: %s", number, len(steps), name)
        results[name] = step(spark, settings, args)
    outputs = {name: value for result in results.values() for name, value in result.outputs.items()}
    training = {f"train_{name}": value for name, value in results["train"].metrics.items()}
    metrics = training | dict(results["evaluate"].metrics)
    return JobResult(metrics=metrics, outputs=outputs, summary=summarise(spark, settings, results))


def replay(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Tell MLflow the records that wait in `tracking.pending`, each once."""
    from recsys_spark.tracking.quiet import quiet

    with quiet():
        from recsys_spark.tracking import replay as waiting
    runs = waiting.replay(settings)
    return JobResult(metrics={"records": len(runs)}, outputs=runs, summary=f"{len(runs)} records told to MLflow")


def _tell_run(settings: Settings, run_id: str | None, tell: Callable[[Tracker], None]) -> None:
    """Take up the run that trained a model; where the store has no such run, say so and go on."""
    if not settings.tracking.enabled or run_id is None:
        return
    try:
        with track(settings, "train", run_id=run_id) as tracker:
            tell(tracker)
    except EnvironmentProblem as problem:
        log.warning("not logged to the run %s that trained the model: %s", run_id, problem)


def _datasets(spark: SparkSession, settings: Settings) -> list[DataSet]:
    if not settings.tracking.enabled:
        return []
    from recsys_spark.tracking.datasets import Context, DataSet

    blocks = lake.current(spark, step_root(settings, "blocks"), "blocks").manifest
    name, split = dataset_slug(settings.dataset), lake.current(spark, split_job.split_root(settings), "split")
    table = split.manifest.tables[split_job.RATINGS]
    counts = blocks.extra["metrics"]
    used: list[tuple[Context, str]] = [("training", "train_ratings"), ("validation", "validation_ratings")]
    return [
        DataSet(
            name=f"{name}.{settings.split.name}.{settings.split.test_fold}.{context}",
            path=split.table(split_job.RATINGS),
            digest=lake.fingerprint(split.manifest.fingerprint, blocks.settings["split"], context),
            ddl=table.schema,
            rows=counts[counter],
            context=context,
        )
        for context, counter in used
        if counts[counter]
    ]


def _test_set(spark: SparkSession, settings: Settings) -> DataSet | None:
    if not settings.tracking.enabled:
        return None
    from recsys_spark.tracking.datasets import DataSet

    evaluated = lake.current(spark, step_root(settings, "evaluate"), "evaluate")
    table = evaluated.manifest.tables["predictions"]
    return DataSet(
        name=f"{dataset_slug(settings.dataset)}.{settings.split.name}.{settings.split.test_fold}.test",
        path=evaluated.table("predictions"),
        digest=lake.fingerprint(evaluated.manifest.inputs["split"], evaluated.manifest.settings["split"], "test"),
        ddl=table.schema,
        rows=table.rows,
        context="test",
    )
