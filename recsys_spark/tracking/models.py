"""Logging a fitted model so that `mlflow.pyfunc.load_model` brings it back without Spark or pickle; driver only."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
from mlflow.models import ModelSignature
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.model_io import load_model
from recsys_spark.redact import redact
from recsys_spark.schema import ITEM, PREDICTION, RANK, SCORE, USER
from recsys_spark.tracking.provenance import PACKAGE_DIR
from recsys_spark.tracking.pyfunc import DEFAULT_N

MODEL_NAME = "model"
LOADER = "recsys_spark.tracking.pyfunc"
REQUIREMENTS = ("numpy", "numba", "pandas", "pyarrow", "pydantic", "scipy", "PyYAML")
EXAMPLE_ROWS = 3


def log_model(model_dir: str | Path, register_as: str | None) -> tuple[str, str | None]:
    """Log a directory that `save_model` wrote to the active run: MLflow's id of the model, its version if registered.

    The package's own code goes along, so that the model loads where only the requirements are installed.

    Raises
    ------
    DataError
        The directory holds no whole model.
    """
    model = load_model(model_dir)
    example = pd.DataFrame({USER: _first(model.user), ITEM: _first(model.item)})
    info = mlflow.pyfunc.log_model(
        name=MODEL_NAME,
        loader_module=LOADER,
        data_path=str(model_dir),
        code_paths=[str(PACKAGE_DIR)],
        signature=signature(model),
        input_example=example,
        pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
        registered_model_name=register_as,
        params={"rank": model.rank, "best_iteration": model.best_iteration},
        tags=context_tags(),
    )
    version = info.registered_model_version
    return str(info.model_id), None if version is None else str(version)


def context_tags() -> dict[str, str]:
    """The tags that MLflow finds itself, where they hold a secret: without it, to be given in their place.

    A checkout made by a build server may have a token in the URL of its remote, which MLflow makes a tag.
    """
    with_secrets = {key: str(value) for key, value in resolve_tags().items() if value is not None}
    return {key: redact(value) for key, value in with_secrets.items() if redact(value) != value}


def signature(model: FittedModel) -> ModelSignature:
    """Input user and, to score pairs, item; output prediction for pairs, else user, rank, item, score; parameter n."""
    user, item = _type(model.user), _type(model.item)
    outputs = {PREDICTION: DataType.float, USER: user, RANK: DataType.integer, ITEM: item, SCORE: DataType.float}
    return ModelSignature(
        inputs=Schema([ColSpec(user, USER), ColSpec(item, ITEM, required=False)]),
        outputs=Schema([ColSpec(kind, name, required=False) for name, kind in outputs.items()]),
        params=ParamSchema([ParamSpec("n", DataType.integer, DEFAULT_N)]),
    )


def _type(side: SideModel) -> DataType:
    return DataType.long if pa.types.is_integer(side.ids.type) else DataType.string


def _first(side: SideModel) -> pd.Series:
    return side.ids[:EXAMPLE_ROWS].to_pandas()
