"""The job `score`: recommendations for every user, published per day; driver."""

from __future__ import annotations

import argparse
import logging
import time
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.model_uri import load_model_uri
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.schema import RANK, USER
from recsys_spark.score.finder import Ranking
from recsys_spark.score.recommend import model_users, recommend

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

STEP = "score"
TABLE = "recommendations"


def score_root(settings: Settings, run_date: date) -> str:
    """Where the recommendations of a day are published."""
    return f"{step_root(settings, STEP)}/{TABLE}/run_date={run_date.isoformat()}"


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish the top-N of every user of the model and of the ratings; what a user has rated is left out.

    Metrics: users, rows, seconds. Outputs: `recommendations`, the immutable path of the Parquet table.

    Raises
    ------
    NotPublishedError
        Nothing is trained or ingested yet.
    """
    start = time.monotonic()
    train = lake.current(spark, step_root(settings, "train"), "train")
    ingest = lake.current(spark, step_root(settings, "ingest"), "ingest")
    run_date = settings.score.run_date or datetime.now(timezone.utc).date()

    def write(draft: lake.Draft) -> dict[str, Any]:
        ratings = lake.read_table(spark, ingest.path, "ratings")
        shared = spark.sparkContext.broadcast(load_model_uri(spark, f"{train.path}/model/fitted"))
        try:
            left_out = settings.score.exclude_seen
            users = None if left_out else model_users(spark, shared.value).union(ratings.select(USER))
            seen = ratings if left_out else None
            draft.write_table(recommend(spark, shared, users, seen, Ranking(settings.score.n), run_date), TABLE)
        finally:
            shared.destroy()
        written = spark.read.parquet(f"{draft.path}/{TABLE}")
        return {"users": written.where(written[RANK] == 1).count()}

    published = lake.publish(
        spark,
        score_root(settings, run_date),
        step=STEP,
        settings={**settings.score.model_dump(mode="json"), "run_date": run_date.isoformat()},
        inputs={"train": train.manifest.fingerprint, "ingest": ingest.manifest.fingerprint},
        write=write,
    )
    users, rows = published.manifest.extra["users"], published.manifest.tables[TABLE].rows
    log.info("%d recommendations for %d users of %s at %s", rows, users, run_date, published.table(TABLE))
    metrics = {"users": float(users), "rows": float(rows), "seconds": time.monotonic() - start}
    return JobResult(metrics=metrics, outputs={TABLE: published.table(TABLE)})
