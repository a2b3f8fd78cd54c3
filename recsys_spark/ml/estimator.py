"""BlockALS: the estimator over the engine's own function. Driver."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import functions as F

from recsys_spark.als.model import FittedModel
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.stages import Stages
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.published import PublishedBlocks
from recsys_spark.errors import DataError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.ml.params import BlockAlsParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark import RDD, SparkContext
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame

    from recsys_spark.blocks.plan import Plan


class BlockALS(Estimator[BlockALSModel], BlockAlsParams, DefaultParamsReadable, DefaultParamsWritable):
    """Block-ALS with biases and side features.

    r̂(u, i) = μ + b_u + c_i + p_u · q_i, factors and biases solved jointly row by row, pulled towards what the features
    predict. Ids are integers or strings as they come.

    >>> model = BlockALS(rank=20, userCol="userId", itemCol="movieId").fit(ratings)  # doctest: +SKIP
    >>> model.transform(test)  # doctest: +SKIP
    """

    _input_kwargs: dict[str, Any]  # set by keyword_only

    @keyword_only
    def __init__(
        self,
        *,
        rank: int = 12,
        maxIter: int = 20,
        regParam: float | None = None,
        seed: int = 0,
        userCol: str = "user",
        itemCol: str = "item",
        ratingCol: str = "rating",
        predictionCol: str = "prediction",
        weightCol: str | None = None,
        validationIndicatorCol: str | None = None,
        coldStartStrategy: str = "nan",
        numUserBlocks: int = 0,
        numItemBlocks: int = 0,
        **engine: Any,
    ) -> None:
        super().__init__()
        self._setDefault(
            rank=12, maxIter=20, seed=0, userCol="user", itemCol="item", ratingCol="rating",
            predictionCol="prediction", coldStartStrategy="nan", numUserBlocks=0, numItemBlocks=0,
        )  # fmt: skip
        self._features: dict[int, tuple[DataFrame, tuple[FeatureColumn, ...]]] = {}
        self.setParams(**self._input_kwargs)

    @keyword_only
    def setParams(self, **params: Any) -> BlockALS:
        """Set Params by name; None leaves one as it is."""
        return self._set(**{name: value for name, value in self._input_kwargs.items() if value is not None})

    @classmethod
    def fromSettings(cls, settings: AlsSettings, **params: Any) -> BlockALS:
        """An estimator with the engine's settings, as a job's configuration gives them."""
        estimator = cls(**params)
        estimator._set_settings(settings)
        return estimator

    def setUserFeatures(self, rows: DataFrame, columns: Sequence[FeatureColumn]) -> BlockALS:
        """User features as `features.encode` gives them: rows (user id, indices, values), and what the indices mean."""
        self._features[USERS] = (rows, tuple(columns))
        return self

    def setItemFeatures(self, rows: DataFrame, columns: Sequence[FeatureColumn]) -> BlockALS:
        """Item features; see `setUserFeatures`."""
        self._features[ITEMS] = (rows, tuple(columns))
        return self

    def copy(self, extra: Any = None) -> BlockALS:
        """A copy with its own Params; feature DataFrames are shared by reference."""
        copied = super().copy(extra)
        copied._features = dict(self._features)
        return copied

    def fitBlocks(self, blocks: PublishedBlocks) -> BlockALSModel:
        """Fit to blocks that the ``blocks`` job published; Params of columns and blocks play no part."""
        spark = blocks.spark
        plan = spark.sparkContext.broadcast(blocks.plan)
        try:
            return self._model(self._train(spark.sparkContext, plan, blocks.records(plan), blocks.columns))
        finally:
            plan.destroy()

    def _fit(self, dataset: DataFrame) -> BlockALSModel:
        ratings = self._ratings(dataset)
        features = {side: _keyed(rows) for side, (rows, _) in self._features.items()}
        columns = (self._columns(USERS), self._columns(ITEMS))
        sc = dataset.sparkSession.sparkContext
        grid = (self.getNumUserBlocks(), self.getNumItemBlocks())
        made = plan_blocks(ratings, features, (len(columns[0]), len(columns[1])), grid)
        plan = sc.broadcast(made)
        try:
            return self._model(self._train(sc, plan, block_records(ratings, features, plan), columns))
        finally:
            plan.destroy()

    def _train(
        self, sc: SparkContext, plan: Broadcast[Plan], records: RDD[tuple[int, bytes]], columns: Columns
    ) -> FittedModel:
        settings = self.settings()
        executor = Stages(sc, plan.value, records, fit=uuid.uuid4().hex)
        try:
            return train(executor, settings, columns)
        finally:
            executor.close()

    def _columns(self, side: int) -> tuple[FeatureColumn, ...]:
        return self._features[side][1] if side in self._features else ()

    def _model(self, fitted: FittedModel) -> BlockALSModel:
        model = BlockALSModel(fitted)
        self._copyValues(model)
        return model._resetUid(self.uid)

    def _ratings(self, dataset: DataFrame) -> DataFrame:
        """(user, item, rating[, weight][, held_out]) from the columns that the Params name."""
        wanted = {"user": self.getUserCol(), "item": self.getItemCol(), "rating": self.getRatingCol()}
        if self.isSet(self.weightCol):
            wanted["weight"] = self.getWeightCol()
        if self.isSet(self.validationIndicatorCol):
            wanted["held_out"] = self.getValidationIndicatorCol()
        missing = sorted(set(wanted.values()) - set(dataset.columns))
        if missing:
            raise DataError(f"no column {', '.join(missing)} in the ratings; they have {', '.join(dataset.columns)}")
        columns = {name: F.col(column) for name, column in wanted.items()}
        for name in columns.keys() & {"rating", "weight"}:
            columns[name] = columns[name].cast("double")
        if "held_out" in columns:
            columns["held_out"] = F.coalesce(columns["held_out"].cast("boolean"), F.lit(False))
        return dataset.select(*(column.alias(name) for name, column in columns.items()))


def _keyed(rows: DataFrame) -> DataFrame:
    """Feature rows with their key, the first column, named ``id``."""
    return rows.select(F.col(rows.columns[0]).alias("id"), "indices", "values")
