"""The job `retrain`: the contest of a night, told to MLflow, and the registry's champion after it; driver."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.als.model import FittedModel
from recsys_spark.als.model_io import save_model
from recsys_spark.cli import JobResult, setting_argument
from recsys_spark.config import Settings, dataset_slug, step_root
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.evaluate.rating import RatingSums
from recsys_spark.features import job as features_job
from recsys_spark.ingest import job as ingest_job
from recsys_spark.ml.job import fit_metrics
from recsys_spark.retrain.contest import (
    CHALLENGER,
    UNTIL,
    Contest,
    Verdict,
    contest_of,
    decide,
    fit_challenger,
    judge,
    start_of,
)
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Tracker, fetch_model, open_registry, track
from recsys_spark.tracking.versions import CHAMPION, DECISION, KEPT, PROMOTED, REASON, UNDECIDED, Version

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from recsys_spark.tracking.datasets import Context, DataSet
    from recsys_spark.tracking.registry import Registry

log = logging.getLogger(__name__)

RECIPE = "recipe"
"""Tag: hash of the ratings and settings that a version was made of."""

ABOUT = """\
Recommender trained by `jobs/retrain.py`; `jobs/score.py --model models:/{name}@champion` serves it.

Each version went on from the champion of its day and was judged beside it on the newest ratings: the tags say how it
did, `decision` what became of it and `reason` why. Roll back with `jobs/retrain.py --name {name} --rollback`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments."""
    setting_argument(parser, "--name", "retrain.name", "registered model; default: the data set's name")
    parser.add_argument(
        "--rollback",
        nargs="?",
        const="",
        metavar="WHY",
        help="make the former champion the champion again; trains nothing",
    )


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Train a challenger, judge it, and promote it where it wins; or roll back, with ``--rollback``.

    The same ratings and settings are fought over once. Metrics: promoted (0 or 1), those of both models, of the fit.

    Raises
    ------
    ConfigError
        Tracking is off.
    RefusedError
        Somebody else promoted another version meanwhile, or there is nothing to roll back to.
    DataError, FitError, EnvironmentProblem
        As ingest, features, a fit and tracking.
    """
    name = settings.retrain.name or dataset_slug(settings.dataset)
    registry = open_registry(settings, name)
    if getattr(args, "rollback", None) is not None:
        return _rolled_back(registry, args.rollback)
    start = time.monotonic()
    ingest_job.run(spark, settings, args)
    features_job.run(spark, settings, args)
    ingest = lake.current(spark, step_root(settings, "ingest"), "ingest")
    features = lake.current(spark, step_root(settings, "features"), "features")
    contest = contest_of(spark, settings, ingest, features)
    champion = registry.champion()
    judged = _judged(registry, contest.recipe, champion)
    if judged:
        log.info("retrain: these ratings and settings have been judged before: nothing to do")
        return _result(registry, judged, {}, start)
    holder = fetch_model(settings, champion.uri)[0] if champion else None
    called = settings.tracking.run_name or f"retrain on ratings up to {contest.facts.until:%Y-%m-%d}"
    tracking = settings.tracking.model_copy(update={"register_as": name, "run_name": called})
    with track(settings.model_copy(update={"tracking": tracking}), "retrain") as tracker:
        tracker.log_settings(settings)
        tracker.log_tags(provenance(spark))
        older, newest = _datasets(settings, ingest, contest)
        tracker.log_dataset(older)
        begin = start_of(holder, settings)
        challenger = fit_challenger(spark, settings, contest, features, begin)
        measured = judge(spark, settings, ingest, contest, {CHALLENGER: challenger, CHAMPION: holder})
        verdict = decide(measured, champion, contest, settings.retrain.margin)
        metrics = _metrics(measured, challenger)
        _log_fit(tracker, challenger, metrics, newest)
        facts = _facts(contest, metrics, champion if begin else None)
        version = _register(tracker, registry, facts, verdict, champion)
    return _result(registry, version, metrics, start)


def _judged(registry: Registry, recipe: str, champion: Version | None) -> Version | None:
    """The version that was made of these ratings and settings, if what becomes of it is decided."""
    found = registry.find(RECIPE, recipe)
    if found and champion and found.number == champion.number and not found.decided:
        return _settle(registry, found.number, PROMOTED, found.tags[REASON])  # killed after it had been promoted
    return found if found and found.decided else None


def _log_fit(tracker: Tracker, challenger: FittedModel, metrics: dict[str, float], newest: DataSet) -> None:
    tracker.log_history(challenger.history)
    with tempfile.TemporaryDirectory(prefix="recsys-spark-model-") as scratch:
        save_model(challenger, Path(scratch) / "model")
        tracker.log_model(Path(scratch) / "model")
    tracker.log_metrics(metrics, newest)


def _register(
    tracker: Tracker, registry: Registry, facts: dict[str, str], verdict: Verdict, champion: Version | None
) -> Version:
    """Tell the version that was logged what is known of it, and put what is decided into effect."""
    number = tracker.version
    if number is None:
        raise EnvironmentProblem(
            f"the challenger was trained, but {registry.store} did not register it: the champion stays; run "
            "jobs/retrain.py again once MLflow answers"
        )
    registry.describe(ABOUT.format(name=registry.name))
    registry.note(number, {DECISION: UNDECIDED, **facts, REASON: verdict.reason})
    if verdict.promoted:
        registry.promote(number, champion)
    decision = PROMOTED if verdict.promoted else KEPT
    tracker.log_tags({DECISION: decision, REASON: verdict.reason, "model_version": number})
    return _settle(registry, number, decision, verdict.reason)


def _settle(registry: Registry, number: str, decision: str, reason: str) -> Version:
    """Note the decision, last of all: it says that everything before it was done."""
    registry.note(number, {DECISION: decision}, f"{decision.capitalize()}: {reason}.")
    found = registry.version(number)
    assert found is not None
    return found


def _metrics(measured: dict[str, RatingSums], challenger: FittedModel) -> dict[str, float]:
    found = {f"fit_{name}": value for name, value in fit_metrics(challenger).items()}
    for name, sums in measured.items():
        end = "" if name == CHALLENGER else f"{name}_"
        found |= {f"{end}rmse": sums.rmse, f"{end}mae": sums.mae, f"{end}accuracy": sums.accuracy}
    return found


def _facts(contest: Contest, metrics: dict[str, float], champion: Version | None) -> dict[str, str]:
    """What a version's tags say, in the order in which the UI shows them; `champion`: what it began from."""
    return {
        **{key: f"{metrics[key]:.4f}" for key in ("rmse", "champion_rmse", "mae") if key in metrics},
        "begun_from": f"version {champion.number}" if champion else "the seed",
        "ratings": f"{contest.facts.rows:,}",
        "ratings_fingerprint": contest.facts.fingerprint,
        UNTIL: contest.cut.isoformat(),
        RECIPE: contest.recipe,
    }


def _datasets(settings: Settings, ingest: lake.Published, contest: Contest) -> tuple[DataSet, DataSet]:
    """The ratings that train and those that judge."""
    from recsys_spark.tracking.datasets import DataSet

    table, name = ingest.manifest.tables["ratings"], dataset_slug(settings.dataset)

    def part(which: str, rows: int, context: Context) -> DataSet:
        digest = lake.fingerprint(contest.facts.fingerprint, contest.cut.isoformat(), which)
        return DataSet(f"{name}.{which}", ingest.table("ratings"), digest, table.schema, rows, context)

    older = part("older", contest.facts.rows - contest.rows, "training")
    return older, part("newest", contest.rows, "test")


def _result(registry: Registry, version: Version, metrics: dict[str, float], start: float) -> JobResult:
    now = registry.champion()
    serves = f"models:/{registry.name}/{now.number}" if now else "none"
    decision, reason = version.tags[DECISION], version.tags[REASON]
    log.info("retrain: version %s of %s %s: %s", version.number, registry.name, decision, reason)
    summary = "\n".join(
        [
            f"Version   {version.number} of {registry.name}: {decision}",
            f"Reason    {reason}",
            f"Champion  version {now.number if now else '-'} (models:/{registry.name}@{CHAMPION})",
            f"MLflow    .venv/bin/mlflow ui --backend-store-uri {registry.store}",
        ]
    )
    outputs = {"model": version.uri, CHAMPION: serves, "run_id": version.run_id}
    measured = {"promoted": float(decision == PROMOTED), **metrics, "seconds": time.monotonic() - start}
    return JobResult(metrics=measured, outputs=outputs, summary=summary)


def _rolled_back(registry: Registry, why: str) -> JobResult:
    was, now = registry.roll_back(why)
    summary = f"Champion  version {now.number} of {registry.name} again, in place of version {was.number}"
    return JobResult(outputs={CHAMPION: now.uri, "rolled_back": was.uri}, summary=summary)
