"""The metrics of ``rating`` over a DataFrame, and the rows that they are taken over; driver."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_spark.errors import DataError
from recsys_spark.evaluate.rating import Floats, RatingSums, class_bounds
from recsys_spark.schema import ITEM, RATING, USER

TRAIN_COUNT = "train_count"
"""Training ratings of a row's item: what the popularity bins are made of."""

_SHOWN = 5


def with_train_counts(test: DataFrame, train: DataFrame) -> DataFrame:
    """Add `train_count` (int): how many rows of `train` the row's item has, 0 if none."""
    counts = train.groupBy(ITEM).agg(F.count(F.lit(1)).cast("int").alias(TRAIN_COUNT))
    return test.join(counts, ITEM, "left").withColumn(TRAIN_COUNT, F.coalesce(TRAIN_COUNT, F.lit(0)))


def sums_by_bin(
    df: DataFrame, predictions: Sequence[str], classes: Floats, bounds: Sequence[int]
) -> dict[str, list[RatingSums]]:
    """Sums of each column of predictions in each popularity bin; one aggregation over the rows.

    Parameters
    ----------
    df : columns rating, train_count and `predictions`
    classes : float64, ascending; values that a rating may take
    bounds : lower bounds of the bins, ascending from 0
    """
    measures: list[Column] = []
    for i, name in enumerate(predictions):
        p, r = F.col(name).cast("double"), F.col(RATING).cast("double")
        known, error = _known(name), r - p
        measures += [
            F.count_if(known).alias(f"n{i}"),
            F.count_if(~known).alias(f"missing{i}"),
            F.sum(F.when(known, error * error)).alias(f"squared{i}"),
            F.sum(F.when(known, F.abs(error))).alias(f"absolute{i}"),
            F.count_if(known & (nearest_class(r, classes) == nearest_class(p, classes))).alias(f"hits{i}"),
        ]
    where = reached(F.col(TRAIN_COUNT), bounds) - 1
    found = {row["bin"]: row for row in df.groupBy(where.alias("bin")).agg(*measures).collect()}
    return {
        name: [
            RatingSums(
                n=row[f"n{i}"],
                missing=row[f"missing{i}"],
                squared=row[f"squared{i}"] or 0.0,
                absolute=row[f"absolute{i}"] or 0.0,
                hits=row[f"hits{i}"],
            )
            if (row := found.get(b))
            else RatingSums()
            for b in range(len(bounds))
        ]
        for i, name in enumerate(predictions)
    }


def require_predictions(df: DataFrame, name: str, sums: Sequence[RatingSums]) -> None:
    """Raise a DataError that names the first rows without a prediction, if there are any."""
    missing = sum(part.missing for part in sums)
    if missing:
        rows = df.where(~_known(name)).select(USER, ITEM).orderBy(USER, ITEM).limit(_SHOWN).collect()
        pairs = ", ".join(f"({row[USER]}, {row[ITEM]})" for row in rows)
        n = missing + sum(part.n for part in sums)
        raise DataError(
            f"{missing} of {n} rows have no {name} (null or NaN), first of (user, item): {pairs}; "
            "fill them before evaluating, e.g. with coldStartStrategy=fallback"
        )


def class_counts(df: DataFrame, columns: Sequence[str], classes: Floats) -> dict[str, list[int]]:
    """How many values of each column fall into each rating class; one aggregation."""
    found = (
        df.select(F.posexplode(F.array(*(nearest_class(F.col(name).cast("double"), classes) for name in columns))))
        .groupBy("pos", "col")
        .count()
        .collect()
    )
    counts = {name: [0] * len(classes) for name in columns}
    for row in found:
        counts[columns[row["pos"]]][row["col"]] = row["count"]
    return counts


def nearest_class(value: Column, classes: Floats) -> Column:
    """Index of the nearest class, ties upwards (int)."""
    return reached(value, [float(bound) for bound in class_bounds(classes)])


def reached(value: Column, bounds: Sequence[float]) -> Column:
    """How many of the bounds a value reaches or exceeds (int)."""
    return F.size(F.filter(F.array(*(F.lit(bound) for bound in bounds)), lambda bound: value >= bound))


def _known(name: str) -> Column:
    return F.col(name).isNotNull() & ~F.isnan(name)
