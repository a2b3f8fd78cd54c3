"""Top-N for many users in Spark tasks: users are spread over partitions, every task has the whole model.

    users ──┐
            ├─ one row a user: (user, items seen) ──mapInArrow──▶ (user, rank, item, score, run_date)
    seen  ──┘                                        model broadcast

Candidates are all items of the model, those without a training rating included: features give them a factor and a bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.als.model import FittedModel
from recsys_spark.errors import DataError
from recsys_spark.kernels.topk import SeenItems
from recsys_spark.schema import ITEM, RANK, RUN_DATE, SCORE, USER

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

SEEN = "seen"
USERS_AT_ONCE = 2048
TASKS_PER_CORE = 2  # users differ in work: a slow task should not leave the other cores idle for long


class Shared(Protocol):
    """What a Spark broadcast of a model is to a task."""

    @property
    def value(self) -> FittedModel:
        """The model."""


def recommend(
    spark: SparkSession,
    model: FittedModel | Broadcast[FittedModel],
    users: DataFrame | None,
    seen: DataFrame | None,
    n: int,
    run_date: date,
) -> DataFrame:
    """The n best items of each user by unclipped score: user, rank (from 1), item, score, run_date; driver, lazy.

    Parameters
    ----------
    model : a model, broadcast for as long as the result lives, or a broadcast of one, which the caller destroys
    users : column user, any further ones and repeats ignored; None: the model's users and those in `seen`
    seen : columns user and item: what is left out; None: nothing is
    n : recommendations per user, fewer where a user has seen nearly everything

    A user that the model does not know is ranked by μ + c_i. Ties go to the lower item id.

    Raises
    ------
    DataError
        n below 1, or a column is missing.
    """
    if n < 1:
        raise DataError(f"the number of recommendations per user must be at least 1, found {n}")
    _require(users, "users", [USER])
    _require(seen, "seen ratings", [USER, ITEM])
    shared: Broadcast[FittedModel] = spark.sparkContext.broadcast(model) if isinstance(model, FittedModel) else model
    task = partial(recommend_batches, shared, n, run_date)
    profiles = _profiles(spark, shared.value, users, seen)
    return profiles.mapInArrow(task, recommendations_ddl(shared.value))


def recommend_batches(
    model: Shared, n: int, run_date: date, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """From batches of (user, seen: list of item ids or null) to batches of recommendations; runs on executors."""
    fitted = model.value
    for batch in batches:
        for start in range(0, batch.num_rows, USERS_AT_ONCE):
            part = batch.slice(start, USERS_AT_ONCE)
            yield _recommend(fitted, part.column(USER), part.column(SEEN), n, run_date)


def recommendations_ddl(model: FittedModel) -> str:
    """Schema of the recommendations, with the model's own types of ids."""
    kinds = ["bigint" if pa.types.is_integer(side.ids.type) else "string" for side in (model.user, model.item)]
    return f"{USER} {kinds[0]}, {RANK} int, {ITEM} {kinds[1]}, {SCORE} float, {RUN_DATE} date"


def model_users(spark: SparkSession, model: FittedModel) -> DataFrame:
    """The model's users as a DataFrame of one column; driver."""
    return spark.createDataFrame(pa.table({USER: model.user.ids}))


def _profiles(spark: SparkSession, model: FittedModel, users: DataFrame | None, seen: DataFrame | None) -> DataFrame:
    """One row per user: user, seen (array of item ids, null where there are none), spread over all cores."""
    from pyspark.sql import functions as F

    kind = "bigint" if pa.types.is_integer(model.user.ids.type) else "string"
    if users is None:
        users = model_users(spark, model)
        users = users if seen is None else users.union(seen.select(USER))
    # By number, so that adaptive execution does not coalesce a few megabytes of ids into one long task.
    tasks = TASKS_PER_CORE * spark.sparkContext.defaultParallelism
    wanted = users.select(F.col(USER).cast(kind)).where(F.col(USER).isNotNull()).repartition(tasks, USER).distinct()
    if seen is None:
        return wanted.withColumn(SEEN, F.lit(None).cast("array<bigint>"))
    pairs = seen.select(F.col(USER).cast(kind), ITEM).where(F.col(USER).isNotNull() & F.col(ITEM).isNotNull())
    lists = pairs.repartition(tasks, USER).groupBy(USER).agg(F.collect_set(ITEM).alias(SEEN))
    return wanted.join(lists, USER, "left")


def _recommend(model: FittedModel, users: pa.Array, seen: pa.ListArray, n: int, run_date: date) -> pa.RecordBatch:
    sizes = pc.fill_null(pc.list_value_length(seen), 0).to_numpy(zero_copy_only=False)
    indptr = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    flat = pc.list_flatten(seen)
    items = model.item.index(flat) if len(flat) else np.empty(0, np.int64)
    rows, scores = model.top_n(users, n, seen=SeenItems(indptr, items))
    found = rows >= 0
    places = np.nonzero(found)
    columns = {
        USER: users.take(pa.array(places[0])),
        RANK: pa.array((places[1] + 1).astype(np.int32)),
        ITEM: model.item.ids.take(pa.array(rows[found])),
        SCORE: pa.array(scores[found]),
        RUN_DATE: pa.repeat(pa.scalar(run_date, pa.date32()), len(places[0])),
    }
    return pa.RecordBatch.from_pydict(columns)


def _require(df: DataFrame | None, what: str, columns: list[str]) -> None:
    missing = [] if df is None else [column for column in columns if column not in df.columns]
    if df is not None and missing:
        raise DataError(f"the table of {what} lacks the column {', '.join(missing)}; it has {', '.join(df.columns)}")
