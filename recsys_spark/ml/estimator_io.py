"""Saving and loading an estimator: Params as pyspark.ml has them, DataFrames and the initial model beside them. Driver.

metadata/                                  Params, uid, and which of the following there are
userFeatures/, userFeatureColumns/         Parquet, written by executors (itemFeatures/, … likewise)
userGraph/, itemGraph/                     Parquet
initialModel/                              a saved BlockALSModel
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from recsys_spark import lake
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import DataError
from recsys_spark.features.columns import COLUMNS_DDL, columns_from_table, columns_to_table
from recsys_spark.ml.model import BlockALSModel

if TYPE_CHECKING:
    from recsys_spark.ml.estimator import BlockALS

_SIDES = {USERS: "user", ITEMS: "item"}
_INITIAL = "initialModel"


class BlockALSWriter(MLWriter):
    """Writes an estimator under a path or URI."""

    def __init__(self, estimator: BlockALS) -> None:
        super().__init__()
        self._estimator = estimator

    def saveImpl(self, path: str) -> None:
        """Write the data first: metadata vouches for them. DataError where the path holds something already."""
        if lake.exists(self.sparkSession, path):
            raise DataError(f"{path} already exists: save elsewhere, or with write().overwrite()")
        root, estimator, kept = path.rstrip("/"), self._estimator, []
        for side, name in _SIDES.items():
            if side in estimator._features:
                rows, columns = estimator._features[side]
                rows.write.parquet(f"{root}/{name}Features")
                table = self.sparkSession.createDataFrame(columns_to_table(columns).to_pylist(), COLUMNS_DDL)
                table.coalesce(1).write.parquet(f"{root}/{name}FeatureColumns")
                kept.append(f"{name}Features")
            if side in estimator._graphs:
                estimator._graphs[side].write.parquet(f"{root}/{name}Graph")
                kept.append(f"{name}Graph")
        if estimator._initial is not None:
            estimator._initial.save(f"{root}/{_INITIAL}")
            kept.append(_INITIAL)
        DefaultParamsWriter.saveMetadata(estimator, path, self.sparkSession, {"kept": kept})


class BlockALSReader(MLReader["BlockALS"]):
    """Reads what `BlockALSWriter` wrote."""

    def load(self, path: str) -> BlockALS:
        """The estimator, uid and Params as saved; its DataFrames are those beside the metadata."""
        from recsys_spark.ml.estimator import BlockALS

        spark, root = self.sparkSession, path.rstrip("/")
        metadata = DefaultParamsReader.loadMetadata(path, spark)
        estimator = BlockALS()
        estimator._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(estimator, metadata)
        kept = metadata["kept"]
        for side, name in _SIDES.items():
            if f"{name}Features" in kept:
                columns = columns_from_table(spark.read.parquet(f"{root}/{name}FeatureColumns").toArrow())
                estimator._features[side] = spark.read.parquet(f"{root}/{name}Features"), tuple(columns)
            if f"{name}Graph" in kept:
                estimator._graphs[side] = spark.read.parquet(f"{root}/{name}Graph")
        if _INITIAL in kept:
            estimator._initial = BlockALSModel.load(f"{root}/{_INITIAL}")
        return estimator
