"""The rows that both contenders see: one split of an ingested data set as plain Parquet. Driver."""

from __future__ import annotations

import argparse
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_spark import lake, schema
from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, TEST
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.features import job as features_job
from recsys_spark.features.job import read_columns
from recsys_spark.ingest import job as ingest_job
from recsys_spark.ingest import split_job

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Prepared:
    """Where the data lies, and what is known of it.

    Attributes
    ----------
    data, features : paths of the published versions
    rows : ratings by part: train, validation, test
    groups : feature groups of either side
    oracle_rmse : of a generated data set, what a model could reach that knew how it was made; None elsewhere
    """

    data: str
    features: str
    rows: dict[str, int]
    oracle_rmse: float | None
    groups: frozenset[str] = frozenset()


def prepare(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> Prepared:
    """Ingest, split and features where they are not current; then the tables ``known`` and ``test``, once.

    Raises
    ------
    DataError
        Ids that pyspark.ml.ALS cannot take, an empty part, or as the steps.
    """
    for step in (ingest_job.run, split_job.run, features_job.run):
        step(spark, settings, args)
    split = lake.current(spark, split_job.split_root(settings), "split")
    published = lake.publish(
        spark,
        step_root(settings, "benchmark/data"),
        step="benchmark data",
        settings=settings.split.model_dump(mode="json", include={"test_fold", "validation_share", "seed"}),
        inputs={"split": split.manifest.version},
        write=lambda draft: write(draft, lake.read_table(spark, split.path, split_job.RATINGS), settings),
    )
    features = lake.current(spark, step_root(settings, "features"), "features").path
    columns = [column for side in (schema.USER, schema.ITEM) for column in read_columns(spark, features, side)]
    return Prepared(
        data=published.path,
        features=features,
        rows=published.manifest.extra["rows"],
        oracle_rmse=_oracle(spark, settings),
        groups=frozenset(column.group for column in columns),
    )


def write(draft: lake.Draft, ratings: DataFrame, settings: Settings) -> dict[str, dict[str, int]]:
    """Write both tables of a split's ratings; what the manifest says of them beside.

    Raises
    ------
    DataError
        Ids beyond 32 bits, or no rows to train or to test on.
    """
    from pyspark.sql import functions as F

    from recsys_spark.ingest.splits import parts

    ids = [schema.USER, schema.ITEM]
    bounds = ratings.agg(*(f(name) for name in ids for f in (F.min, F.max))).collect()[0]
    if any(bound is None or not _INT_MIN <= bound <= _INT_MAX for bound in bounds):
        raise DataError(
            f"pyspark.ml.ALS takes 32-bit integer ids; {' and '.join(ids)} ids are {bounds[0]} to {bounds[1]} and "
            f"{bounds[2]} to {bounds[3]}: there is nothing to compare on this data set"
        )
    chosen = settings.split
    labelled = parts(ratings, chosen.test_fold, chosen.validation_share, chosen.seed)
    columns = [*(F.col(name).cast("int").alias(name) for name in ids), F.col(schema.RATING)]
    held_out = (F.col(schema.PART) == schema.VALIDATION).alias(HELD_OUT)
    known = draft.write_table(labelled.where(F.col(schema.PART) != schema.TEST).select(*columns, held_out), KNOWN)
    test = draft.write_table(labelled.where(F.col(schema.PART) == schema.TEST).select(*columns), TEST)
    validation = ratings.sparkSession.read.parquet(f"{draft.path}/{KNOWN}").where(HELD_OUT).count()
    rows = {schema.TRAIN: known.rows - validation, schema.VALIDATION: validation, schema.TEST: test.rows}
    empty = [part for part in (schema.TRAIN, schema.TEST) if not rows[part]]
    if empty:
        raise DataError(f"the split {chosen.name} has no {' and no '.join(empty)} rows in fold {chosen.test_fold}")
    return {"rows": rows}


def _oracle(spark: SparkSession, settings: Settings) -> float | None:
    """The oracle of a generated release, if the data set is one."""
    with contextlib.suppress(NotPublishedError):
        made = lake.current(spark, step_root(settings, "raw")).manifest
        return float(made.extra["oracle_rmse"]) if made.step == "generate" else None
    return None
