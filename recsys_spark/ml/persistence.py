"""Saving and loading a model where Spark can reach: metadata as pyspark.ml has it, arrays as Parquet beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from recsys_spark.als.model_io import load_model, save_model
from recsys_spark.lake import fs
from recsys_spark.ml.model import BlockALSModel

FITTED = "fitted"


class BlockALSModelWriter(MLWriter):
    """Writes ``metadata/`` and ``fitted/`` under a path or URI."""

    def __init__(self, model: BlockALSModel) -> None:
        super().__init__()
        self._model = model

    def saveImpl(self, path: str) -> None:
        """Write the arrays first: metadata vouches for them."""
        with tempfile.TemporaryDirectory(prefix="recsys-spark-model-") as scratch:
            local = Path(scratch) / FITTED
            save_model(self._model.fitted, local)
            fs.copy_from_local(self.sparkSession, local, f"{path.rstrip('/')}/{FITTED}")
        DefaultParamsWriter.saveMetadata(self._model, path, self.sparkSession)


class BlockALSModelReader(MLReader[BlockALSModel]):
    """Reads what `BlockALSModelWriter` wrote."""

    def load(self, path: str) -> BlockALSModel:
        """The model at a path or URI, uid and Params as saved. DataError names a file that is missing or damaged."""
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        with tempfile.TemporaryDirectory(prefix="recsys-spark-model-") as scratch:
            local = Path(scratch) / FITTED
            fs.copy_to_local(self.sparkSession, f"{path.rstrip('/')}/{FITTED}", local)
            model = BlockALSModel(load_model(local))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
