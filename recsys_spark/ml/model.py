"""BlockALSModel: a fitted model as a pyspark.ml transformer. Driver."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, StringType

from recsys_spark.als.model import FittedModel, Unknown
from recsys_spark.als.spread import SpreadModel, SpreadSide
from recsys_spark.errors import DataError
from recsys_spark.ml.joined import joined_predictions
from recsys_spark.ml.params import BlockAlsModelParams
from recsys_spark.ml.ratings import check_classic, id_column

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import Column, DataFrame

    from recsys_spark.ml.persistence import BlockALSModelReader

log = logging.getLogger(__name__)

_NO_ID = -(2**63)


class BlockALSModel(Model, BlockAlsModelParams, MLWritable, MLReadable["BlockALSModel"]):
    """What `BlockALS.fit` returns: factors, biases, projections, history, and predictions from them.

    Attributes
    ----------
    trained : FittedModel or SpreadModel
        What the fit left behind. With exchange ``shuffle`` no process holds its rows: factors, saving and `transform`
        leave them where they are, all else brings them to the driver.
    """

    def __init__(self, fitted: FittedModel | SpreadModel) -> None:
        super().__init__()
        self.trained = fitted
        self._shared: Broadcast[FittedModel] | None = None

    @property
    def fitted(self) -> FittedModel:
        """The model as plain arrays; all that scoring without Spark needs. Brings rows to the driver where need be."""
        if isinstance(self.trained, SpreadModel):
            rows = len(self.trained.user) + len(self.trained.item)
            log.warning("bringing %d rows of rank %d to the driver", rows, self.rank)
            self.trained = self.trained.gathered(_session())
        return self.trained

    @fitted.setter
    def fitted(self, value: FittedModel) -> None:
        self.trained = value

    @property
    def rank(self) -> int:
        """Width of the factors."""
        return self.trained.rank

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
        return _session().createDataFrame(self.trained.history)

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
        copied.trained, copied._shared = self.trained, self._shared
        return copied

    def _transform(self, dataset: DataFrame) -> DataFrame:
        check_classic(dataset)
        strategy = self.getColdStartStrategy()
        unknown: Unknown = "fallback" if strategy == "fallback" else "nan"
        if isinstance(self.trained, SpreadModel):
            out = self._joined(self.trained, dataset, unknown)
            return out.where(~F.isnan(self.getPredictionCol())) if strategy == "drop" else out
        shared = self._broadcast(dataset)
        clip = self.getOrDefault(self.clipPredictions)

        @F.pandas_udf(FloatType())  # type: ignore[call-overload]
        def predict(users: pd.Series, items: pd.Series) -> pd.Series:
            ids = pa.Array.from_pandas(users), pa.Array.from_pandas(items)
            return pd.Series(shared.value.predict(*ids, unknown=unknown, clip=clip))

        score = predict(self._id(dataset, self.getUserCol(), "user"), self._id(dataset, self.getItemCol(), "item"))
        # pandas has one value for null and NaN, and it comes back as null
        out = dataset.withColumn(self.getPredictionCol(), F.coalesce(score, F.lit(float("nan")).cast("float")))
        return out.where(~F.isnan(self.getPredictionCol())) if strategy == "drop" else out

    def _joined(self, model: SpreadModel, dataset: DataFrame, unknown: Unknown) -> DataFrame:
        check_classic(dataset)
        keys = (self._id(dataset, self.getUserCol(), "user"), self._id(dataset, self.getItemCol(), "item"))
        clip = self.getOrDefault(self.clipPredictions)
        return joined_predictions(model, dataset, keys, self.getPredictionCol(), unknown, clip)

    def _id(self, dataset: DataFrame, column: str, side: str) -> Column:
        """The id column in the model's type; a null, or a fraction, becomes an id that no model knows.

        Pandas has no null long.
        """
        found = id_column(dataset, column, side)
        kind = dataset.schema[column].dataType
        ids = self._id_types[side]
        if pa.types.is_integer(ids) and not isinstance(kind, StringType):
            return F.coalesce(found.cast("long"), F.lit(_NO_ID))
        if not pa.types.is_integer(ids) and isinstance(kind, StringType):
            return found
        raise DataError(f"{side} column {column!r} is {kind.simpleString()}, but the model's {side} ids are {ids}")

    def _broadcast(self, dataset: DataFrame) -> Broadcast[FittedModel]:
        if self._shared is None:
            self._shared = dataset.sparkSession.sparkContext.broadcast(self.fitted)
        return self._shared

    @property
    def _id_types(self) -> dict[str, pa.DataType]:
        sides = {"user": self.trained.user, "item": self.trained.item}
        return {name: pa.type_for_alias(s.ids) if isinstance(s.ids, str) else s.ids.type for name, s in sides.items()}

    def _factors(self, name: str) -> DataFrame:
        side = getattr(self.trained, name)
        if isinstance(side, SpreadSide):
            return side.rows.selectExpr("id", "factors as features", "bias")
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
