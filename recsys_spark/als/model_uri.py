"""A saved model at any path or URI: through a local directory of the driver."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.als.model import FittedModel
from recsys_spark.als.model_io import MODEL_JSON, load_model, save_model
from recsys_spark.errors import DataError, NotPublishedError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def save_model_uri(spark: SparkSession, model: FittedModel, uri: str) -> None:
    """Write what `save_model` writes to a path or URI that holds nothing yet; driver only."""
    with tempfile.TemporaryDirectory(prefix="recsys_spark-model-") as scratch:
        local = Path(scratch) / "model"
        save_model(model, local)
        lake.copy_from_local(spark, local, uri)


def load_model_uri(spark: SparkSession, uri: str) -> FittedModel:
    """Load the model that `save_model` wrote and that was copied to `uri`; driver only.

    Raises
    ------
    NotPublishedError
        `uri` holds no saved model.
    DataError
        The model is incomplete or damaged.
    """
    if not lake.exists(spark, f"{uri.rstrip('/')}/{MODEL_JSON}"):
        raise NotPublishedError(f"no saved model at {uri} (it holds no {MODEL_JSON}); run jobs/train.py first")
    with tempfile.TemporaryDirectory(prefix="recsys_spark-model-") as scratch:
        local = Path(scratch) / "model"
        lake.copy_to_local(spark, uri, local)
        with named(uri, local):
            return load_model(local)


@contextmanager
def named(uri: str, local: Path) -> Iterator[None]:
    """Let errors about a local copy name what it is a copy of."""
    try:
        yield
    except DataError as problem:
        raise DataError(str(problem).replace(str(local), uri.rstrip("/"))) from problem
