"""Saving and loading a model where Spark can reach: metadata as pyspark.ml has it, arrays as Parquet beside it."""

from __future__ import annotations

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from recsys_spark import lake
from recsys_spark.als.model_uri import load_model_uri, save_model_uri
from recsys_spark.als.spread import SpreadModel, is_spread, load_spread_uri, save_spread_uri
from recsys_spark.errors import DataError
from recsys_spark.ml.model import BlockALSModel

FITTED = "fitted"


class BlockALSModelWriter(MLWriter):
    """Writes ``metadata/`` and ``fitted/`` under a path or URI."""

    def __init__(self, model: BlockALSModel) -> None:
        super().__init__()
        self._model = model

    def saveImpl(self, path: str) -> None:
        """Write the arrays first: metadata vouches for them. DataError where the path holds something already."""
        if lake.exists(self.sparkSession, path):
            raise DataError(f"{path} already exists: save elsewhere, or with write().overwrite()")
        trained, target = self._model.trained, f"{path.rstrip('/')}/{FITTED}"
        if isinstance(trained, SpreadModel):
            save_spread_uri(self.sparkSession, trained, target)
        else:
            save_model_uri(self.sparkSession, trained, target)
        DefaultParamsWriter.saveMetadata(self._model, path, self.sparkSession)


class BlockALSModelReader(MLReader[BlockALSModel]):
    """Reads what `BlockALSModelWriter` wrote."""

    def load(self, path: str) -> BlockALSModel:
        """The model at a path or URI, uid and Params as saved. DataError names a file that is missing or damaged."""
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        source = f"{path.rstrip('/')}/{FITTED}"
        load = load_spread_uri if is_spread(self.sparkSession, source) else load_model_uri
        model = BlockALSModel(load(self.sparkSession, source))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
