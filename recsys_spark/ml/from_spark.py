"""A model of ours from one of pyspark.ml.recommendation.ALS: to compare, to score with, to begin a fit from. Driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.als import history
from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.settings import AlsSettings, ImplicitSettings, SideSettings

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame

_NO_CLIP = float(np.finfo(np.float32).max)


def fitted_from_spark(
    model: ALSModel, *, regParam: float, implicitPrefs: bool, alpha: float, nonnegative: bool
) -> FittedModel:
    """Spark's factors, without mean, biases or history. Collects both tables of factors."""
    side = SideSettings(reg=regParam, reg_mode="weighted", bias="none")
    settings = AlsSettings(
        rank=model.rank, mean="none", user=side, item=side, nonnegative=nonnegative,
        implicit=ImplicitSettings(prefs=implicitPrefs, alpha=alpha),
    )  # fmt: skip
    return FittedModel(
        user=_side(model.userFactors, model.rank),
        item=_side(model.itemFactors, model.rank),
        mu=0.0,
        clip=(-_NO_CLIP, _NO_CLIP),
        settings=settings,
        history=history.table([]),
        best_iteration=0,
        stop_reason="",
    )


def _side(factors: DataFrame, rank: int) -> SideModel:
    table = factors.toArrow()
    table = table.take(pc.sort_indices(table["id"]))
    rows = table.num_rows
    flat = pc.list_flatten(table["features"]).to_numpy().astype(np.float32)
    return SideModel(
        ids=table["id"].combine_chunks().cast(pa.int64()),
        factors=np.ascontiguousarray(flat.reshape(rows, rank)),
        biases=np.zeros(rows, np.float32),
        counts=np.ones(rows),  # Spark has rows for rated ids alone, and keeps no counts
        columns=(),
        projection=np.zeros((0, rank)),
        projection_bias=np.zeros(0),
    )
