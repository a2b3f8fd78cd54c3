"""BlockALS as a contender: biases, features, validation and history on. Driver of a measured process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.benchmark.spec import HELD_OUT
from recsys_spark.features.job import read_columns
from recsys_spark.ml.estimator import BlockALS
from recsys_spark.schema import ITEM, PREDICTION, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recsys_spark.als.settings import AlsSettings
    from recsys_spark.ml.model import BlockALSModel


class Ours:
    """Fits of BlockALS, as `contender.Runner` wants them."""

    def __init__(self, spark: SparkSession, features: str, train: AlsSettings) -> None:
        self._spark, self._features, self._settings = spark, features, train

    def relaxed(self, relaxation: float) -> Ours:
        """The same, items going so far at most."""
        settings = self._settings.model_copy(update={"relaxation": relaxation})
        return Ours(self._spark, self._features, settings)

    def fit(self, ratings: DataFrame, max_iter: int) -> BlockALSModel:
        """All of `max_iter` iterations: no early stopping."""
        settings = self._settings
        stop = settings.stop.model_copy(update={"min_iter": max_iter + 1})
        return self._fit(ratings, settings.model_copy(update={"max_iter": max_iter, "stop": stop}))

    def fit_whole(self, ratings: DataFrame) -> BlockALSModel:
        """The fit that a user gets: as many iterations as the settings and early stopping say."""
        return self._fit(ratings, self._settings)

    def force(self, model: BlockALSModel) -> None:
        """Nothing is left to do: the factors are arrays on the driver."""

    def history(self, model: BlockALSModel) -> tuple[float, ...]:
        """Seconds of each iteration."""
        return tuple(model.fitted.history["seconds"].to_pylist())

    def predict(self, model: BlockALSModel, test: DataFrame) -> DataFrame:
        """`test` with ``prediction``; a user or item without training ratings is predicted from its features."""
        return model.copy().setColdStartStrategy("fallback").setPredictionCol(PREDICTION).transform(test)

    def top_n(self, model: BlockALSModel, n: int) -> DataFrame:
        """The n best items of every user."""
        return model.recommendForAllUsers(n)

    def blas(self) -> str | None:
        """None: the kernels use none."""
        return None

    def _fit(self, ratings: DataFrame, settings: AlsSettings) -> BlockALSModel:
        estimator = BlockALS.fromSettings(settings, validationIndicatorCol=HELD_OUT)
        for side, give in ((USER, estimator.setUserFeatures), (ITEM, estimator.setItemFeatures)):
            columns = read_columns(self._spark, self._features, side)
            if columns:
                give(lake.read_table(self._spark, self._features, side), columns)
        return estimator.fit(ratings)
