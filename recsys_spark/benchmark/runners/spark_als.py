"""pyspark.ml.ALS as a contender, on the training ratings alone: raw, less their mean, or less biases. Driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import functions as F

from recsys_spark.benchmark.runners.on_spark import OnSpark
from recsys_spark.benchmark.spec import HELD_OUT, FitOrder
from recsys_spark.schema import ITEM, PREDICTION, RATING, USER

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_BIASES = {ITEM: "item_bias", USER: "user_bias"}


@dataclass(frozen=True)
class _Offset:
    """What is taken off the ratings and added to predictions: μ, and tables of biases by id."""

    mean: float
    biases: dict[str, DataFrame]

    def on(self, rows: DataFrame) -> tuple[DataFrame, Column]:
        """The rows joined with what they need, and their offset; an unknown id has bias 0."""
        value = F.lit(self.mean)
        for key, table in self.biases.items():
            rows = rows.join(F.broadcast(table), key, "left")
            value = value + F.coalesce(_BIASES[key], F.lit(0.0))
        return rows, value


@dataclass(frozen=True)
class Fitted:
    """Spark's model, and what its ratings were taken less."""

    als: ALSModel
    offset: _Offset


class SparkAls(OnSpark):
    """Fits of pyspark.ml.ALS, as `contender.Runner` wants them."""

    def fit(self, order: FitOrder) -> Fitted:
        """All iterations, offsets included; its own checkpoint interval, and storage levels as they come."""
        plan, reg = self.spec.plan, self.spec.plan.reg if order.reg is None else order.reg
        assert reg is not None  # a plan for pyspark.ml.ALS has one
        train = self.input(order).where(~F.col(HELD_OUT)).select(USER, ITEM, RATING)
        offset = self._offset(train)
        rows, value = offset.on(train)
        if plan.offset != "none":
            rows = rows.select(USER, ITEM, (F.col(RATING) - value).cast("float").alias(RATING))
        als = ALS(
            rank=plan.train.rank,
            regParam=reg,
            maxIter=order.max_iter,
            seed=plan.train.seed,
            numUserBlocks=plan.spark.blocks,
            numItemBlocks=plan.spark.blocks,
            userCol=USER,
            itemCol=ITEM,
            ratingCol=RATING,
            coldStartStrategy="nan",
        )
        return Fitted(als.fit(rows.persist() if plan.spark.cache else rows), offset)

    def force(self, model: Fitted) -> None:
        """Count both sides' factors: were the fit lazy, its work would be done here."""
        model.als.userFactors.count()
        model.als.itemFactors.count()

    def predict(self, model: Fitted, rows: DataFrame) -> DataFrame:
        """`rows` with ``prediction``; the offset alone where it does not know the user or the item, NaN without one."""
        predicted = model.als.setPredictionCol(PREDICTION).transform(rows)
        if self.spec.plan.offset == "none":
            return predicted
        joined, value = model.offset.on(predicted)
        return joined.withColumn(PREDICTION, value + F.nanvl(F.col(PREDICTION).cast("double"), F.lit(0.0)))

    def behind(self, model: Fitted) -> ALSModel:
        """Spark's model: lists and what is saved are those of its factors alone."""
        return model.als

    def reopen(self, path: str) -> ALSModel:
        """The saved model."""
        return ALSModel.load(path)

    def blas(self) -> str:
        """The class that Spark's own look-up found for the normal equations.

        dev.ludovic.netlib.blas.JNIBLAS where the system has a native library, VectorBLAS or another in Java where not.
        """
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None  # a live session has one
        found = getattr(getattr(jvm.org.apache.spark.ml.linalg, "BLAS$"), "MODULE$")
        return str(found.nativeBLAS().getClass().getName())

    def _offset(self, train: DataFrame) -> _Offset:
        """Mean and shrunken biases in plain Spark: of items, then of users beside them."""
        if self.spec.plan.offset == "none":
            return _Offset(0.0, {})
        mean = float(train.agg(F.avg(RATING)).collect()[0][0])
        if self.spec.plan.offset == "mean":
            return _Offset(mean, {})
        settings, found = self.spec.plan.train, _Offset(mean, {})
        for key, reg in ((ITEM, settings.item.reg_bias), (USER, settings.user.reg_bias)):
            rows, value = found.on(train)
            bias = F.sum(F.col(RATING) - value) / (F.count("*") + F.lit(reg))
            # Kept by Spark: fit and predictions read it several times.
            table = rows.groupBy(key).agg(bias.alias(_BIASES[key])).persist()
            found = _Offset(mean, {**found.biases, key: table})
        return found
