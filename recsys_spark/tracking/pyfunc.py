"""What MLflow loads a logged model with: scores and top-N from arrays, without Spark.

MLflow imports this module by its name, calls `_load_pyfunc` with the directory that `save_model` wrote, and gives input
as a pandas DataFrame:

    columns user, item    → one column `prediction`, same index; clipped to the scale, with fallbacks for unknown ids
    column user alone     → rows user, rank, item, score: the n best items of each user (params={"n": 20}; default 10)

The model holds no ratings, so a top-N does not leave out what a user has seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.model_io import load_model
from recsys_spark.errors import DataError
from recsys_spark.schema import ITEM, PREDICTION, RANK, SCORE, USER

DEFAULT_N = 10


class Scorer:
    """A fitted model behind the interface that MLflow expects of a loaded model."""

    def __init__(self, model: FittedModel) -> None:
        self.model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predictions for user–item rows, or top-N for users where there is no column `item`.

        Raises
        ------
        DataError
            No column user, ids that are not of the model's kind, or n below 1.
        """
        if not isinstance(model_input, pd.DataFrame) or USER not in model_input.columns:
            raise DataError(f"the input must be a DataFrame with the column {USER}, and {ITEM} to score pairs")
        users = _ids(model_input[USER], self.model.user)
        if ITEM in model_input.columns:
            scores = self.model.predict(users, _ids(model_input[ITEM], self.model.item))
            return pd.DataFrame({PREDICTION: scores}, index=model_input.index)
        n = int((params or {}).get("n", DEFAULT_N))
        if n < 1:
            raise DataError(f"n must be at least 1, found {n}")
        rows, scores = self.model.top_n(users, n)
        places = np.nonzero(rows >= 0)
        return pd.DataFrame(
            {
                USER: model_input[USER].to_numpy()[places[0]],
                RANK: (places[1] + 1).astype(np.int32),
                ITEM: self.model.item.ids.take(pa.array(rows[places])).to_pandas(),
                SCORE: scores[places],
            }
        )


def _load_pyfunc(path: str) -> Scorer:
    """Called by MLflow with the local copy of the model's data."""
    return Scorer(load_model(path))


def _ids(column: pd.Series, side: SideModel) -> pa.Array:
    """A column of ids; whole numbers that pandas holds as floats (as it does beside missing ones) are ids still."""
    try:
        ids = pa.Array.from_pandas(column)
        if pa.types.is_floating(ids.type) and pa.types.is_integer(side.ids.type):
            ids = ids.cast(pa.int64())
    except pa.ArrowException as problem:
        raise DataError(f"column {column.name} holds values that are no ids: {problem}") from problem
    return ids
