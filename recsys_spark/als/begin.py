"""Where a fit begins: rows and projections of another model, brought into this fit's index. Driver."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.blocks.plan import SidePlan
from recsys_spark.errors import ConfigError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.rows import F32, F64


def check_initial(model: FittedModel, rank: int) -> None:
    """Raise ConfigError where a fit of that rank cannot begin from the model."""
    if model.rank != rank:
        raise ConfigError(f"the initial model has rank {model.rank}, the fit {rank}: set rank to {model.rank}")


def rows_of(side: SideModel, plan: SidePlan) -> tuple[F32, F32]:
    """Factors (n, k) and biases (n,) of the plan's rows: the model's where it knows the id, else zero."""
    at = side.index(plan.ids)
    known = at >= 0
    factors, biases = np.zeros((len(at), side.rank), np.float32), np.zeros(len(at), np.float32)
    factors[known], biases[known] = side.factors[at[known]], side.biases[at[known]]
    return factors, biases


def projection_of(side: SideModel, columns: Sequence[FeatureColumn]) -> F64:
    """W̃ (d, k + 1) of the fit's feature columns: the model's where it has one of that group and name, else zero."""
    known = {(c.group, c.name): c.index for c in side.columns}
    out = np.zeros((len(columns), side.rank + 1))
    for at, column in enumerate(columns):
        index = known.get((column.group, column.name))
        if index is not None:
            out[at, :-1], out[at, -1] = side.projection[index], side.projection_bias[index]
    return out
