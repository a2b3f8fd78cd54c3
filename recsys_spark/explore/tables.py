"""Ratings as small tables: counted by Spark, collected as pandas or NumPy. Driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import Window
from pyspark.sql import functions as F

from recsys_spark.schema import ITEM, PREDICTION, RATING, TIMESTAMP, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def tail(ratings: DataFrame, key: str) -> pd.DataFrame:
    """How many ids of a column have n ratings or more: (n, ids), for every n that occurs, ascending.

    Only counts of counts come to the driver.
    """
    sizes = ratings.groupBy(key).agg(F.count(F.lit(1)).alias("n")).groupBy("n").agg(F.count(F.lit(1)).alias("ids"))
    counted = sizes.toPandas().sort_values("n", ignore_index=True)
    return counted.assign(ids=counted["ids"][::-1].cumsum()[::-1])


def density(ratings: DataFrame, cells: int) -> np.ndarray:
    """Share of rated pairs in each cell of a grid, float64 (rows, columns), at most ``cells`` each way.

    Rows are groups of users of equal size, the busiest first; columns likewise of films, the most rated first.
    """
    sides = {key: _groups(ratings, key, cells) for key in (USER, ITEM)}
    counted = (
        ratings.join(sides[USER].select(USER, "user_group"), USER)
        .join(sides[ITEM].select(ITEM, "item_group"), ITEM)
        .groupBy("user_group", "item_group")
        .agg(F.count(F.lit(1)).alias("n"))
        .toPandas()
    )
    sizes = {
        key: side.groupBy(f"{key}_group").agg(F.count(F.lit(1)).alias("n")).orderBy(f"{key}_group").toPandas()["n"]
        for key, side in sides.items()
    }
    grid = np.zeros((len(sizes[USER]), len(sizes[ITEM])))
    grid[counted["user_group"] - 1, counted["item_group"] - 1] = counted["n"]
    return grid / np.outer(sizes[USER], sizes[ITEM])


def growth(ratings: DataFrame) -> pd.DataFrame:
    """By month (UTC): (month, ratings, users: active in it, new_users: whose first rating it holds)."""
    month = F.date_trunc("month", TIMESTAMP)
    active = ratings.groupBy(month.alias("month")).agg(
        F.count(F.lit(1)).alias("ratings"), F.countDistinct(USER).alias("users")
    )
    firsts = (
        ratings.groupBy(USER).agg(F.min(month).alias("month")).groupBy("month").agg(F.count("*").alias("new_users"))
    )
    found = active.join(firsts, "month", "left").fillna(0, ["new_users"])
    return found.toPandas().sort_values("month", ignore_index=True)


def calibration(predictions: DataFrame, columns: list[str], width: float = 0.25) -> dict[str, pd.DataFrame]:
    """For each predictor, by its prediction rounded to ``width``: (prediction, rating: mean, n), ascending."""
    found = {}
    for name in columns:
        step = (F.round(F.col(name) / width) * width).alias(PREDICTION)
        by_step = predictions.groupBy(step).agg(F.mean(RATING).alias(RATING), F.count(F.lit(1)).alias("n"))
        found[name] = by_step.toPandas().sort_values(PREDICTION, ignore_index=True)
    return found


def _groups(ratings: DataFrame, key: str, cells: int) -> DataFrame:
    """(key, {key}_group: 1 to cells), by descending number of ratings; one row a user or film, in one partition."""
    counted = ratings.groupBy(key).agg(F.count(F.lit(1)).alias("n"))
    order = Window.orderBy(F.desc("n"), key)
    return counted.withColumn(f"{key}_group", F.ntile(cells).over(order)).drop("n")
