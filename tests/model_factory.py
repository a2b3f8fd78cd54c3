"""A synthetic fitted model: random arrays in place of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys_spark.als.model import HISTORY_SCHEMA, FittedModel, SideModel
from recsys_spark.als.settings import AlsSettings
from recsys_spark.features.columns import FeatureColumn


def random_side(rng: np.random.Generator, ids: pa.Array, rank: int, columns: Sequence[FeatureColumn] = ()) -> SideModel:
    """A side with normal factors and biases; every third row is known by its features alone."""
    rows, width = len(ids), len(columns)
    return SideModel(
        ids=ids,
        factors=rng.normal(0, 0.4, (rows, rank)).astype(np.float32),
        biases=rng.normal(0, 0.5, rows).astype(np.float32),
        counts=np.where(np.arange(rows) % 3 == 0, 0.0, rng.integers(1, 50, rows)).astype(np.float64),
        columns=tuple(columns),
        projection=rng.normal(size=(width, rank)),
        projection_bias=rng.normal(size=width),
    )


def random_history(iterations: int = 3) -> pa.Table:
    """A history whose numbers tell iterations and columns apart; the last validation RMSE is missing."""
    columns: dict[str, list[float]] = {
        name: [1000.0 * place + iteration for iteration in range(1, iterations + 1)]
        for place, name in enumerate(HISTORY_SCHEMA.names)
    }
    columns["iteration"] = list(range(1, iterations + 1))
    columns["validation_rmse"][-1] = float("nan")
    return pa.table(columns, schema=HISTORY_SCHEMA)


def random_model(
    users: int = 12, items: int = 30, rank: int = 5, seed: int = 0, *, string_ids: bool = False, features: bool = True
) -> FittedModel:
    """User ids are 100, 103, 106, … and item ids 7, 9, 11, … ("u0100", "i0007", … as strings)."""
    rng = np.random.default_rng(seed)
    user_ids = pa.array(np.arange(users, dtype=np.int64) * 3 + 100)
    item_ids = pa.array(np.arange(items, dtype=np.int64) * 2 + 7)
    if string_ids:
        user_ids = pa.array([f"u{id_:04d}" for id_ in user_ids.to_pylist()], pa.string())
        item_ids = pa.array([f"i{id_:04d}" for id_ in item_ids.to_pylist()], pa.string())
    columns = [FeatureColumn(0, "genre", "genre=Drama"), FeatureColumn(1, "length", "length", mean=95.5, std=12.25)]
    return FittedModel(
        user=random_side(rng, user_ids, rank),
        item=random_side(rng, item_ids, rank, columns if features else ()),
        mu=3.5,
        clip=(0.5, 5.0),
        settings=AlsSettings(rank=rank, clip=(0.5, 5.0)),
        history=random_history(),
        best_iteration=2,
        stop_reason="max_iter reached",
    )
