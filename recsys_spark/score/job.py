"""The job `score`: recommendations for every user, published per day; driver."""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark import __version__, lake
from recsys_spark.cli import JobResult, setting_argument
from recsys_spark.config import Settings, step_root
from recsys_spark.schema import RUN_DATE, USER
from recsys_spark.score.candidates import find_candidates
from recsys_spark.score.carry import RATED, changed_users, digests, facts_of, why_not
from recsys_spark.score.days import STEP, TABLE, day_before, day_root, expire, score_path
from recsys_spark.score.finder import Ranking
from recsys_spark.score.gates import judge, measure
from recsys_spark.score.newcomers import user_features, with_newcomers
from recsys_spark.score.recommend import model_users, recommend
from recsys_spark.score.source import Source, load_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_NO_MATTER = {"model", "since", "gates", "keep_days"}
"""Settings that decide whether and when rows are made, and not what is in them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments; each stands for a setting."""
    setting_argument(
        parser, "--model", "score.model", "models:/NAME@ALIAS, models:/NAME/VERSION, a path or URI; default: the lake's"
    )
    setting_argument(
        parser, "--run-date", "score.run_date", "day that is published, such as 2026-11-20; default: today"
    )
    setting_argument(
        parser,
        "--since",
        "score.since",
        "last: score only users whose ratings changed since the day before, carry over the rest; a day or ISO time: "
        "those who rated since as well",
    )
    setting_argument(
        parser,
        "--publish-anyway",
        "score.gates.publish_anyway",
        "publish what a quality gate stops, and record it",
        True,
    )


@dataclass(frozen=True)
class _Plan:
    """What the rows of a day are made of."""

    run_date: date
    source: Source
    ratings: DataFrame
    features: lake.Published | None
    before: lake.Published | None
    ranking: Ranking
    recipe: dict[str, str]
    settings: Settings


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace, source: Source | None = None) -> JobResult:
    """Publish the top-N of every user of the model and of the ratings; what a user has rated is left out.

    Users whom the model was not trained on are folded in; who cannot be gets the fallback. With ``score.since`` only
    users with newer ratings are scored and the rest are carried over from the day before, where that makes the same
    day; everybody is scored otherwise.

    Parameters
    ----------
    source : the model; None: what ``score.model`` names

    Outputs: `recommendations`, the immutable path of the Parquet table.

    Raises
    ------
    NotPublishedError
        Nothing is trained or ingested yet.
    DataError
        No item passes the candidate filters.
    RefusedError
        A quality gate stops the day.
    """
    start = time.monotonic()
    source = source or load_source(spark, settings)
    ingest = lake.current(spark, step_root(settings, "ingest"), "ingest")
    plan = _plan(spark, settings, source, ingest)
    chosen = settings.score.candidates
    published = lake.publish(
        spark,
        day_root(score_path(settings), plan.run_date),
        step=STEP,
        settings=_version_settings(settings, plan.run_date),
        inputs={
            "model": source.fingerprint,
            "ingest": ingest.manifest.version,
            "features": plan.recipe["features"],
            "before": plan.before.manifest.version if plan.before else "none",
        }
        | {
            table: lake.fingerprint_files(spark, [table])
            for table in (chosen.allow, chosen.block)
            if isinstance(table, str)
        },
        write=lambda draft: _write(spark, draft, plan),
    )
    removed = expire(spark, score_path(settings), settings.score.keep_days)
    if removed:
        log.info("removed %d days up to %s (score.keep_days)", len(removed), removed[-1])
    extra = published.manifest.extra
    metrics = {
        "users": float(extra["gates"]["measures"]["served"]),
        **{k: float(v) for k, v in extra["counts"].items()},
    }
    overlap = extra["gates"]["measures"]["overlap"]
    if overlap is not None:
        metrics["overlap"] = overlap
    metrics["seconds"] = time.monotonic() - start
    return JobResult(metrics=metrics, outputs={TABLE: published.table(TABLE)}, summary=_summary(published))


def _plan(spark: SparkSession, settings: Settings, source: Source, ingest: lake.Published) -> _Plan:
    score = settings.score
    run_date = score.run_date or datetime.now(timezone.utc).date()
    rows = find_candidates(spark, source.model, ingest.path, score.candidates, run_date)
    ids = None if rows is None else source.model.item.ids.take(pa.array(rows)).to_pylist()
    features = user_features(spark, settings, source.model)
    recipe = {
        "model": source.fingerprint,
        "settings": lake.fingerprint(score.model_dump(mode="json", exclude={*_NO_MATTER, "run_date", "candidates"})),
        "candidates": lake.fingerprint(ids, score.candidates.min_ratings),
        "features": features.manifest.version if features else "none",
        "release": __version__,
    }
    ranking = Ranking(score.n, score.item_bias_weight, min_ratings=score.candidates.min_ratings, candidates=rows)
    return _Plan(
        run_date=run_date,
        source=source,
        ratings=lake.read_table(spark, ingest.path, "ratings"),
        features=features,
        before=day_before(spark, score_path(settings), run_date),
        ranking=ranking,
        recipe=recipe,
        settings=settings,
    )


def _write(spark: SparkSession, draft: lake.Draft, plan: _Plan) -> dict[str, Any]:
    draft.write_table(digests(plan.ratings), RATED)
    rated = spark.read.parquet(f"{draft.path}/{RATED}")
    obstacle = why_not(plan.before, plan.recipe)
    if plan.settings.score.since is not None:
        log.info(f"{obstacle}: everybody is scored" if obstacle else "users whose ratings have changed are scored")
    counts = _write_rows(spark, draft, plan, rated, plan.before if obstacle is None else None)
    written = spark.read.parquet(f"{draft.path}/{TABLE}")
    yesterday = lake.read_table(spark, plan.before.path, TABLE) if plan.before else None
    measures = measure(written, counts.pop("users"), yesterday)
    account = judge(measures, plan.settings.score.gates, plan.source.model.clip, plan.run_date.isoformat())
    return {
        "counts": {"rows": measures.rows, **counts},
        "model": {**plan.source.facts, "fingerprint": plan.source.fingerprint},
        "ratings": facts_of(rated).to_json(),
        "recipe": plan.recipe,
        "everybody_because": obstacle if plan.settings.score.since is not None else "score.since is not set",
        "gates": account,
    }


def _write_rows(
    spark: SparkSession, draft: lake.Draft, plan: _Plan, rated: DataFrame, base: lake.Published | None
) -> dict[str, int]:
    """Write the table; how many users there are, were scored, folded in, left to the fallback, carried over.

    Parameters
    ----------
    rated : a digest of every user's ratings, as `carry.digests` makes it
    base : the day that rows may be carried over from
    """
    original, ratings, since = plan.source.model, plan.ratings, plan.settings.score.since
    everybody = model_users(spark, original).union(rated.select(USER)).distinct()
    changed = scored = None
    if since is not None and base is not None:
        then = lake.read_table(spark, base.path, RATED)
        changed = changed_users(rated, then, None if since == "last" else since).persist()
        scored = everybody.join(changed, USER, "left_semi")
    theirs = ratings if scored is None else ratings.join(scored, USER, "left_semi")
    features = lake.read_table(spark, plan.features.path, USER) if plan.features else None
    model, folded_in = with_newcomers(spark, original, theirs, features)
    shared = spark.sparkContext.broadcast(model)
    try:
        left_out = plan.settings.score.exclude_seen
        asked = everybody if scored is None and not left_out else scored
        rows = recommend(spark, shared, asked, ratings if left_out else None, plan.ranking, plan.run_date)
        if changed is not None and base is not None:
            kept = lake.read_table(spark, base.path, TABLE).join(changed, USER, "left_anti")
            rows = rows.unionByName(kept.withColumn(RUN_DATE, F.lit(plan.run_date)))
        draft.write_table(rows, TABLE)
        users = everybody.count()
        served = users if scored is None else scored.count()
        strangers = theirs.select(USER).distinct().join(model_users(spark, model), USER, "left_anti").count()
        return {
            "users": users,
            "scored": served,
            "folded_in": folded_in,
            "fallback": strangers,
            "carried_over": users - served,
        }
    finally:
        shared.destroy()
        if changed is not None:
            changed.unpersist()


def _version_settings(settings: Settings, run_date: date) -> dict[str, Any]:
    chosen = settings.score.model_dump(mode="json", exclude={"model", "keep_days"})
    return {**chosen, "run_date": run_date.isoformat()}


def _summary(published: lake.Published) -> str:
    """What a person wants to know of a day."""
    extra = published.manifest.extra
    counts, measures, model = extra["counts"], extra["gates"]["measures"], extra["model"]
    version = f"{model['name']} version {model['version']}" if "version" in model else model["uri"]
    lines = [
        f"Recommendations of {published.manifest.settings['run_date']}"
        + (" (as they were: nothing has changed)" if published.reused else ""),
        f"Model     {version}",
        f"Ratings   {extra['ratings']['rows']:,} up to {extra['ratings']['until']}",
        f"Users     {measures['served']:,} of {measures['users']:,} served, {measures['rows']:,} rows: "
        f"{counts['scored']:,} scored ({counts['folded_in']:,} folded in, {counts['fallback']:,} by the fallback), "
        f"{counts['carried_over']:,} carried over",
    ]
    if measures["lowest"] is not None:
        lines.append(f"Scores    {measures['lowest']:.2f} to {measures['highest']:.2f}")
    if measures["overlap"] is not None:
        lines.append(f"Overlap   {measures['overlap']:.1%} of the rows were there the day before")
    if extra["gates"]["failed"]:
        lines.append(f"PUBLISHED IN SPITE OF {'; '.join(extra['gates']['failed'])}")
    return "\n".join([*lines, f"Top-N     {published.table(TABLE)}"])
