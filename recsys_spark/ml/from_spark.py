"""A model of ours from one of pyspark.ml.recommendation.ALS: to compare, to score with, to begin a fit from. Driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.settings import AlsSettings, ImplicitSettings, SideSettings

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame


def fitted_from_spark(
    model: ALSModel, *, regParam: float, implicitPrefs: bool, alpha: float, nonnegative: bool
) -> FittedModel:
    """Spark's factors, without mean, biases or history. Collects both tables of factors."""
    side = SideSettings(reg=regParam, reg_mode="weighted", bias="none")
    settings = AlsSettings(
        rank=model.rank, mean="none", user=side, item=side, nonnegative=nonnegative,
        implicit=ImplicitSettings(prefs=implicitPrefs, alpha=alpha),
    )  # fmt: skip
    return FittedModel.plain(_side(model.userFactors, model.rank), _side(model.itemFactors, model.rank), settings)


def _side(factors: DataFrame, rank: int) -> SideModel:
    """Counts are not known: Spark has rows for rated ids alone, and keeps none."""
    table = factors.toArrow()
    table = table.take(pc.sort_indices(table["id"]))
    flat = pc.list_flatten(table["features"]).to_numpy().astype(np.float32)
    ids = table["id"].combine_chunks().cast(pa.int64())
    return SideModel.plain(ids, np.ascontiguousarray(flat.reshape(table.num_rows, rank)))
