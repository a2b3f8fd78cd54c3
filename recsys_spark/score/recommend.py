"""Recommendations for users as the table that the job publishes: one row a place."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import USERS
from recsys_spark.schema import ITEM, RANK, RUN_DATE, SCORE, USER
from recsys_spark.score.finder import RATING, RECOMMENDATIONS, Ranking
from recsys_spark.score.topn import recommend_ids, recommend_rows

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession


def recommend(
    spark: SparkSession,
    model: FittedModel | Broadcast[FittedModel],
    users: DataFrame | None,
    seen: DataFrame | None,
    ranking: Ranking,
    run_date: date,
) -> DataFrame:
    """The best items of each user by unclipped score: user, rank (from 1), item, score, run_date; driver, lazy.

    Parameters
    ----------
    model : a model, broadcast for as long as the result lives, or a broadcast of one, which the caller destroys
    users : column user, any further ones, nulls and repeats ignored; None: the model's users and those in `seen`
    seen : columns user and item: what is left out; None: nothing is

    A user that the model does not know is ranked by μ + c_i. Ties go to the lower item id. Fewer than n rows
    where a user has seen nearly everything.

    Raises
    ------
    DataError
        A column is missing or has the wrong type.
    """
    from pyspark.sql import functions as F

    shared: Broadcast[FittedModel] = spark.sparkContext.broadcast(model) if isinstance(model, FittedModel) else model
    names = (USER, ITEM)
    if users is None and seen is None:
        found = recommend_rows(spark, shared, USERS, ranking, names)
    else:
        found = recommend_ids(shared, USERS, ranking, names, users, seen, fallback=True)
    places = found.select(USER, F.posexplode(RECOMMENDATIONS).alias("place", "found"))
    return places.select(
        USER,
        (F.col("place") + 1).cast("int").alias(RANK),
        F.col(f"found.{ITEM}").alias(ITEM),
        F.col(f"found.{RATING}").alias(SCORE),
        F.lit(run_date).alias(RUN_DATE),
    )


def model_users(spark: SparkSession, model: FittedModel) -> DataFrame:
    """The model's users as a DataFrame of one column; driver."""
    return spark.createDataFrame(pa.table({USER: model.user.ids}))
