"""Simpler models and pyspark.ml.ALS, fitted to the same training rows; each adds a column of predictions. Driver."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.ml.recommendation import ALS
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.window import Window

from recsys_spark import lake
from recsys_spark.errors import DataError
from recsys_spark.schema import ITEM, RATING, USER

if TYPE_CHECKING:
    from recsys_spark.als.settings import AlsSettings
    from recsys_spark.config import PysparkSettings

log = logging.getLogger(__name__)

BIASES = "biases"
GLOBAL_MEAN = "global_mean"
PYSPARK = "pyspark_als"
PYSPARK_CENTRED = "pyspark_als_centred"

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
# J is then within 1.3e-4 of its minimum on ml-latest-small, and Spark's cost of an iteration is that of any rank.
_BIAS_ITERATIONS = 10
_USER_INDEX, _ITEM_INDEX = "__user", "__item"


def add_baselines(
    test: DataFrame,
    train: DataFrame,
    names: Sequence[str],
    *,
    settings: AlsSettings,
    pyspark: PysparkSettings,
    scale: tuple[float, float],
    checkpoints: str,
) -> DataFrame:
    """Add a float column per baseline, named like it, with a prediction in every row.

    - ``global_mean``: the mean training rating;
    - ``biases``: our engine at rank 0, r̂ = μ + b_u + c_i, unknown users and items at bias 0;
    - ``pyspark_als``, ``pyspark_als_centred``: pyspark.ml.ALS on the ratings, or on the ratings less their mean. Where
      it does not know the user or the item (NaN), the biases' prediction stands in.

    All are clipped to the scale, as our model's own predictions are: it never makes one worse.

    Parameters
    ----------
    test, train : columns user, item, rating (and any others in `test`); read several times, so persist them
    settings : of our engine; its rank is not used
    scale : lowest and highest rating
    checkpoints : directory for checkpoints of pyspark.ml.ALS, if the session has none; removed afterwards

    Raises
    ------
    DataError
        No training rows.
    """
    mean, rows = train.agg(F.avg(F.col(RATING).cast("double")), F.count(RATING)).collect()[0]
    if not rows:
        raise DataError("there are no training rows to fit baselines to")
    out = test
    if GLOBAL_MEAN in names:
        out = out.withColumn(GLOBAL_MEAN, _clipped(F.lit(mean), scale))
    spark_names = [name for name in names if name in (PYSPARK, PYSPARK_CENTRED)]
    if spark_names or BIASES in names:
        out = _add_biases(out, train, settings, scale)
    if spark_names:
        with _checkpoint_dir(train.sparkSession, checkpoints):
            for name in spark_names:
                offset = mean if name == PYSPARK_CENTRED else 0.0
                out = add_pyspark_als(out, train, name, pyspark, offset=offset, scale=scale, blocks=als_blocks(rows))
    return out.select(*test.columns, *names)


def add_pyspark_als(
    df: DataFrame,
    train: DataFrame,
    name: str,
    settings: PysparkSettings,
    *,
    offset: float,
    scale: tuple[float, float],
    blocks: int,
    seed: int = 0,
) -> DataFrame:
    """Fit pyspark.ml.ALS to the ratings less `offset` and add its clipped predictions; NaNs become ``biases``.

    Parameters
    ----------
    df : columns user, item, biases and any others
    """
    rating = (F.col(RATING) - F.lit(offset)).cast("float").alias(RATING)
    ratings = _with_int_ids(train, train).select(_USER_INDEX, _ITEM_INDEX, rating)
    als = ALS(
        rank=settings.rank,
        regParam=settings.reg,
        maxIter=settings.iterations,
        seed=seed,
        userCol=_USER_INDEX,
        itemCol=_ITEM_INDEX,
        ratingCol=RATING,
        coldStartStrategy="nan",
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=10,
    ).setPredictionCol("__raw")
    log.info("baseline %s: rank %d, regParam %g, %d iterations", name, settings.rank, settings.reg, settings.iterations)
    predicted = als.fit(ratings).transform(_with_int_ids(df, train))
    value = F.nanvl(F.col("__raw") + F.lit(offset), F.col(BIASES))
    return predicted.select(*df.columns, _clipped(value, scale).alias(name))


def als_blocks(rows: int) -> int:
    """Blocks a side for pyspark.ml.ALS: its default of 10 for millions of ratings, fewer where they are mere overhead.

    Its random start, and so its result, depends on them: they follow from the data, not from the machine.
    """
    return min(10, 2 + rows // 500_000)


def add_int_ids(df: DataFrame, train: DataFrame, column: str, name: str) -> DataFrame:
    """Add the int32 ids that pyspark.ml.ALS needs: the ids themselves where all of `train` fit, else numbers in order.

    It refuses nulls, so an id that is not one of `train`'s becomes an int that is not.
    """
    if isinstance(train.schema[column].dataType, T.IntegralType):
        low, high = train.agg(F.min(column), F.max(column)).collect()[0]
        if low > _INT_MIN and high <= _INT_MAX:
            return df.withColumn(name, F.coalesce(F.col(column).try_cast("int"), F.lit(low - 1)))
    ids = train.select(column).distinct().withColumn(name, F.row_number().over(Window.orderBy(column)))
    return df.join(ids, column, "left").withColumn(name, F.coalesce(name, F.lit(0)))


def _with_int_ids(df: DataFrame, train: DataFrame) -> DataFrame:
    return add_int_ids(add_int_ids(df, train, USER, _USER_INDEX), train, ITEM, _ITEM_INDEX)


def _add_biases(df: DataFrame, train: DataFrame, settings: AlsSettings, scale: tuple[float, float]) -> DataFrame:
    from recsys_spark.ml.estimator import BlockALS

    iterations = min(settings.max_iter, _BIAS_ITERATIONS)
    # Without features and graphs: what settings say of those has nothing here to refer to.
    plain = {"reg_groups": {}, "graph": 0.0}
    sides = {"user": settings.user.model_copy(update=plain), "item": settings.item.model_copy(update=plain)}
    alone = settings.model_copy(update={"rank": 0, "max_iter": iterations, "clip": scale, **sides})
    model = BlockALS.fromSettings(alone, predictionCol=BIASES, coldStartStrategy="fallback").fit(train)
    return model.transform(df).withColumn(BIASES, _clipped(F.col(BIASES), scale))


def _clipped(value: Column, scale: tuple[float, float]) -> Column:
    """Within the scale, as float; NaN and null stay what they are."""
    inside = F.greatest(F.lit(scale[0]), F.least(F.lit(scale[1]), value.cast("double")))
    return F.when(value.isNull() | F.isnan(value.cast("double")), value.cast("double")).otherwise(inside).cast("float")


@contextmanager
def _checkpoint_dir(spark: SparkSession, path: str) -> Iterator[None]:
    """A checkpoint directory for the session, if it has none: without, over 30 iterations overflow the JVM's stack."""
    context = spark.sparkContext
    if context.getCheckpointDir() is not None:
        yield
        return
    context.setCheckpointDir(path)
    try:
        yield
    finally:
        lake.delete(spark, path)
