"""Where a fit begins: the projections of another model, brought into this fit's feature columns. Driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.errors import ConfigError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.rows import F64

if TYPE_CHECKING:
    from recsys_spark.als.spread import SpreadModel, SpreadSide


def check_initial(model: FittedModel | SpreadModel, rank: int) -> None:
    """Raise ConfigError where a fit of that rank cannot begin from the model."""
    if model.rank != rank:
        raise ConfigError(f"the initial model has rank {model.rank}, the fit {rank}: set rank to {model.rank}")


def projection_of(side: SideModel | SpreadSide, columns: Sequence[FeatureColumn]) -> F64:
    """W̃ (d, k + 1) of the fit's feature columns: the model's where it has one of that group and name, else zero."""
    known = {(c.group, c.name): c.index for c in side.columns}
    out = np.zeros((len(columns), side.rank + 1))
    for at, column in enumerate(columns):
        index = known.get((column.group, column.name))
        if index is not None:
            out[at, :-1], out[at, -1] = side.projection[index], side.projection_bias[index]
    return out
