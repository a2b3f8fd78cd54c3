"""Days of recommendations: where they are, and reading them through their pointers, so whole ones only; driver.

    <path>/run_date=2026-11-20/_CURRENT                        which version the day is
    <path>/run_date=2026-11-20/<version>/_manifest.json        how it was made: counts, model, data, gates
    <path>/run_date=2026-11-20/<version>/recommendations/      user, rank, item, score, run_date

A day comes into being, pointer and all, by one rename. A replacement is another version and one swap of the pointer;
who has opened the replaced one can read on, for it is removed only when two more have come.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import NotPublishedError
from recsys_spark.lake.manifest import POINTER
from recsys_spark.schema import RECOMMENDATIONS_DDL

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "score"
TABLE = "recommendations"
_DAY = re.compile(r"run_date=(\d{4}-\d{2}-\d{2})")


def score_path(settings: Settings) -> str:
    """Where the job publishes: what `read` is given."""
    return f"{step_root(settings, STEP)}/{TABLE}"


def day_root(path: str, run_date: date) -> str:
    """Where one day is published."""
    return f"{path.rstrip('/')}/run_date={run_date.isoformat()}"


def days(spark: SparkSession, path: str) -> list[date]:
    """The published days, ascending."""
    found = (_DAY.fullmatch(name) for name, is_dir, *_ in lake.list_dir(spark, path) if is_dir)
    dates = [date.fromisoformat(match[1]) for match in found if match]
    return [day for day in dates if lake.exists(spark, f"{day_root(path, day)}/{POINTER}")]


def day_before(spark: SparkSession, path: str, run_date: date) -> lake.Published | None:
    """The last day that was published before a date, as it is now."""
    for day in reversed(days(spark, path)):
        if day < run_date:
            return lake.current(spark, day_root(path, day), STEP)
    return None


def read(path: str, run_date: date | str | None = None, *, spark: SparkSession | None = None) -> DataFrame:
    """The recommendations of a day: user, rank (from 1), item, score, run_date.

    Parameters
    ----------
    path : ``{workdir}/{data set}/score/recommendations``, a path or URI
    run_date : the day, or as ISO 8601; None: the latest
    spark : the session; None: the active one

    The day's version is looked up now. A DataFrame that was made before a replacement reads the replaced version.

    Raises
    ------
    NotPublishedError
        There is no such day; the message names the latest ones.
    """
    spark = spark or _session()
    known = days(spark, path)
    wanted = date.fromisoformat(run_date) if isinstance(run_date, str) else run_date
    if not known or (wanted is not None and wanted not in known):
        of_day = f"of {wanted} " if wanted else ""
        latest = f"; the latest days are {', '.join(map(str, known[-3:]))}" if known else ""
        raise NotPublishedError(f"no recommendations {of_day}at {path}{latest}; run jobs/score.py first")
    return lake.read_table(spark, day_root(path, wanted or known[-1]), TABLE)


def create_view(name: str, path: str, *, spark: SparkSession | None = None) -> None:
    """Make, or make anew, a temporary view of all published days, for SQL: ``WHERE run_date = DATE'2026-11-20'``.

    A view is bound to versions, as any Spark plan is to files: it goes on to show the days as they are now.

    Raises
    ------
    NotPublishedError
        There is no day.
    """
    spark = spark or _session()
    tables = [lake.current(spark, day_root(path, day), STEP).table(TABLE) for day in days(spark, path)]
    if not tables:
        raise NotPublishedError(f"no recommendations at {path}; run jobs/score.py first")
    spark.read.schema(RECOMMENDATIONS_DDL).parquet(*tables).createOrReplaceTempView(name)


def expire(spark: SparkSession, path: str, keep: int | None) -> list[date]:
    """Remove all but the latest days; first their pointers, so that nobody finds half a day. Returns those removed."""
    old = days(spark, path)[:-keep] if keep else []
    for day in old:
        lake.delete(spark, f"{day_root(path, day)}/{POINTER}")
        lake.delete(spark, day_root(path, day))
    return old


def _session() -> SparkSession:
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()
