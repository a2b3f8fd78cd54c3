"""pyspark.ml.ALS as a contender, on the training ratings alone. Driver of a measured process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.ml.recommendation import ALS
from pyspark.sql import functions as F

from recsys_spark.benchmark.spec import HELD_OUT, Spec
from recsys_spark.schema import ITEM, PREDICTION, RATING, USER

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame, SparkSession


class SparkAls:
    """Fits of pyspark.ml.ALS, as `contender.Runner` wants them."""

    def __init__(self, spark: SparkSession, spec: Spec) -> None:
        self._spark, self._spec = spark, spec

    def fit(self, ratings: DataFrame, max_iter: int) -> ALSModel:
        """All of `max_iter` iterations; its own checkpoint interval, and storage levels as they come."""
        choice = self._spec.spark
        train = ratings.where(~F.col(HELD_OUT)).select(USER, ITEM, RATING)
        als = ALS(
            rank=self._spec.train.rank,
            regParam=self._spec.reg,
            maxIter=max_iter,
            seed=self._spec.train.seed,
            numUserBlocks=choice.blocks,
            numItemBlocks=choice.blocks,
            userCol=USER,
            itemCol=ITEM,
            ratingCol=RATING,
            coldStartStrategy="nan",
        )
        return als.fit(train.persist() if choice.cache else train)

    def fit_whole(self, ratings: DataFrame) -> ALSModel:
        """A fit of the iterations asked for."""
        assert self._spec.quality is not None
        return self.fit(ratings, self._spec.quality)

    def force(self, model: ALSModel) -> None:
        """Count both sides' factors: were the fit lazy, its work would be done here."""
        model.userFactors.count()
        model.itemFactors.count()

    def history(self, model: ALSModel) -> tuple[float, ...]:
        """It keeps none."""
        return ()

    def predict(self, model: ALSModel, test: DataFrame) -> DataFrame:
        """`test` with ``prediction``, NaN where it does not know the user or the item."""
        return model.setPredictionCol(PREDICTION).transform(test)

    def top_n(self, model: ALSModel, n: int) -> DataFrame:
        """The n best items of every user."""
        return model.recommendForAllUsers(n)

    def blas(self) -> str:
        """The class that Spark's own look-up found for the normal equations.

        dev.ludovic.netlib.blas.JNIBLAS where the system has a native library, VectorBLAS or another in Java where not.
        """
        jvm = self._spark.sparkContext._jvm
        assert jvm is not None  # a live session has one
        found = getattr(getattr(jvm.org.apache.spark.ml.linalg, "BLAS$"), "MODULE$")
        return str(found.nativeBLAS().getClass().getName())
