"""BlockALSModel: a fitted model as a pyspark.ml transformer. Driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, IntegralType, StringType

from recsys_spark.als.model import FittedModel, Unknown
from recsys_spark.errors import DataError
from recsys_spark.ml.params import BlockAlsModelParams
from recsys_spark.ml.recommend import Recommends

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import Column, DataFrame

    from recsys_spark.ml.persistence import BlockALSModelReader

_NO_ID = -(2**63)


class BlockALSModel(Recommends, Model, BlockAlsModelParams, MLWritable, MLReadable["BlockALSModel"]):
    """What `BlockALS.fit` returns: factors, biases, projections, history, and predictions from them.

    Attributes
    ----------
    fitted : FittedModel
        The model as plain arrays; all that scoring without Spark needs.
    """

    def __init__(self, fitted: FittedModel) -> None:
        super().__init__()
        self._setDefault(userCol="user", itemCol="item", predictionCol="prediction", coldStartStrategy="nan")
        self.fitted = fitted
        self._shared: Broadcast[FittedModel] | None = None

    def setPredictionCol(self, value: str) -> BlockALSModel:
        """Name the column that `transform` adds."""
        return self._set(predictionCol=value)

    def setColdStartStrategy(self, value: str) -> BlockALSModel:
        """nan, drop or fallback."""
        return self._set(coldStartStrategy=value)

    @property
    def rank(self) -> int:
        """Width of the factors."""
        return self.fitted.rank

    @property
    def userFactors(self) -> DataFrame:
        """(id, features array<float>, bias float) of every user in the index."""
        return self._factors("user")

    @property
    def itemFactors(self) -> DataFrame:
        """(id, features array<float>, bias float) of every item in the index."""
        return self._factors("item")

    @property
    def history(self) -> DataFrame:
        """One row per iteration: J by term, RMSEs, seconds."""
        return _session().createDataFrame(self.fitted.history)

    def write(self) -> MLWriter:
        """A writer: ``metadata/`` as pyspark.ml writes it, ``fitted/`` as `als.model_io` does."""
        from recsys_spark.ml.persistence import BlockALSModelWriter

        return BlockALSModelWriter(self)

    @classmethod
    def read(cls) -> BlockALSModelReader:
        """A reader of what `write` wrote."""
        from recsys_spark.ml.persistence import BlockALSModelReader

        return BlockALSModelReader()

    def copy(self, extra: object = None) -> BlockALSModel:
        """A copy with its own Params; the arrays are shared."""
        copied = super().copy(extra)  # type: ignore[arg-type]
        copied.fitted, copied._shared = self.fitted, self._shared
        return copied

    def _transform(self, dataset: DataFrame) -> DataFrame:
        strategy = self.getColdStartStrategy()
        shared = self._broadcast(dataset)
        unknown: Unknown = "fallback" if strategy == "fallback" else "nan"

        @F.pandas_udf(FloatType())  # type: ignore[call-overload]
        def predict(users: pd.Series, items: pd.Series) -> pd.Series:
            model = shared.value
            return pd.Series(model.predict(pa.Array.from_pandas(users), pa.Array.from_pandas(items), unknown=unknown))

        score = predict(self._id(dataset, self.getUserCol(), "user"), self._id(dataset, self.getItemCol(), "item"))
        # pandas has one value for null and NaN, and it comes back as null
        out = dataset.withColumn(self.getPredictionCol(), F.coalesce(score, F.lit(float("nan")).cast("float")))
        return out.where(~F.isnan(self.getPredictionCol())) if strategy == "drop" else out

    def _id(self, dataset: DataFrame, column: str, side: str) -> Column:
        """The id column in the model's type; a null becomes one that no model knows: pandas has no null long."""
        if column not in dataset.columns:
            raise DataError(f"no {side} column {column!r} in the data; it has {', '.join(dataset.columns)}")
        kind = dataset.schema[column].dataType
        ids = getattr(self.fitted, side).ids.type
        if pa.types.is_integer(ids) and isinstance(kind, IntegralType):
            return F.coalesce(F.col(column).cast("long"), F.lit(_NO_ID))
        if not pa.types.is_integer(ids) and isinstance(kind, StringType):
            return F.col(column)
        raise DataError(f"{side} column {column!r} is {kind.simpleString()}, but the model's {side} ids are {ids}")

    def _broadcast(self, dataset: DataFrame) -> Broadcast[FittedModel]:
        if self._shared is None:
            self._shared = dataset.sparkSession.sparkContext.broadcast(self.fitted)
        return self._shared

    def _factors(self, name: str) -> DataFrame:
        side = getattr(self.fitted, name)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(side.factors.ravel()), side.rank) if side.rank else None
        features = (
            lists.cast(pa.list_(pa.float32()))
            if lists is not None
            else pa.array([[]] * len(side), pa.list_(pa.float32()))
        )
        table = pa.table({"id": side.ids, "features": features, "bias": np.asarray(side.biases)})
        return _session().createDataFrame(table)


def _session():  # type: ignore[no-untyped-def]
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()
