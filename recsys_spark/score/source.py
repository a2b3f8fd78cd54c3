"""Where the model that scores comes from: the lake's current one, a path or URI, or a registry (`experiment`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.als.model import FittedModel
from recsys_spark.als.model_io import MODEL_JSON
from recsys_spark.als.model_uri import load_model_uri
from recsys_spark.config import Settings, step_root
from recsys_spark.ml.job import model_path
from recsys_spark.ml.persistence import FITTED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REGISTRY = "models:/"


@dataclass(frozen=True)
class Source:
    """A model and what is told of it: `uri`, and what is known of name, version, alias, run_id."""

    model: FittedModel
    facts: Mapping[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that recommendations and folding in follow from."""
        model = self.model
        rest = (repr(model.mu), repr(model.clip), model.settings.model_dump(mode="json"))
        counts = (model.user.counts > 0).tobytes().hex() if len(model.user) else ""
        return lake.fingerprint(model.fingerprint().hex(), *rest, counts)


def load_source(spark: SparkSession, settings: Settings) -> Source:
    """The model that ``score.model`` names, as `BlockALSModel` or `save_model` saved it; null: the lake's current one.

    Raises
    ------
    NotPublishedError
        There is none.
    """
    if settings.score.model is None:
        train = lake.current(spark, step_root(settings, "train"), "train")
        uri, run_id = model_path(train), train.manifest.extra.get("run_id")
    else:
        uri, run_id = settings.score.model.rstrip("/"), None
    inner = f"{uri}/{FITTED}"
    found = load_model_uri(spark, inner if lake.exists(spark, f"{inner}/{MODEL_JSON}") else uri)
    return Source(found, {"uri": uri} | ({"run_id": run_id} if run_id else {}))
