"""Columns of predictions: from a model that every executor holds, or from two joins where none does. Driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.als.model import FittedModel, Unknown
from recsys_spark.kernels.predict import score_pairs
from recsys_spark.kernels.rows import F32

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import Column, DataFrame

    from recsys_spark.als.spread import SpreadModel

_SIDES = ("user", "item")


def broadcast_predictions(
    shared: Broadcast[FittedModel],
    dataset: DataFrame,
    keys: tuple[Column, Column],
    column: str,
    unknown: Unknown,
    clip: bool,
) -> DataFrame:
    """The dataset with a float column of predictions; lazy. Parameters as `joined_predictions`."""

    @F.pandas_udf(T.FloatType())  # type: ignore[call-overload]
    def predict(users: pd.Series, items: pd.Series) -> pd.Series:
        ids = pa.Array.from_pandas(users), pa.Array.from_pandas(items)
        return pd.Series(shared.value.predict(*ids, unknown=unknown, clip=clip))

    # Pandas has one value for null and NaN, and it comes back as null.
    return dataset.withColumn(column, F.coalesce(predict(*keys), F.lit(float("nan")).cast("float")))


def joined_predictions(
    model: SpreadModel, dataset: DataFrame, keys: tuple[Column, Column], column: str, unknown: Unknown, clip: bool
) -> DataFrame:
    """The dataset with a float column of predictions, bit for bit those of `FittedModel.predict`; lazy.

    Parameters
    ----------
    keys : pair of Column
        User and item ids in the model's types.
    """
    wide = dataset.select("*", *(key.alias(f"__{side}") for side, key in zip(_SIDES, keys, strict=True)))
    for side, rows in zip(_SIDES, (model.user.rows, model.item.rows), strict=True):
        named = rows.select(
            F.col("id").alias(f"__{side}_id"), F.col("factors").alias(f"__{side}_p"), F.col("bias").alias(f"__{side}_b")
        )
        wide = wide.join(named, wide[f"__{side}"] == named[f"__{side}_id"], "left").drop(f"__{side}_id", f"__{side}")
    out = T.StructType([*dataset.schema.fields, T.StructField(column, T.FloatType(), False)])
    bounds = model.clip if clip else None
    return wide.mapInArrow(
        partial(_predict, mu=model.mu, rank=model.rank, bounds=bounds, unknown=unknown, column=column), out
    )


def _predict(
    batches: Iterable[pa.RecordBatch],
    mu: float,
    rank: int,
    bounds: tuple[float, float] | None,
    unknown: Unknown,
    column: str,
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sides = [_rows(batch, side, rank) for side in _SIDES]
        (users, user_biases, user_at), (items, item_biases, item_at) = sides
        scores = score_pairs(mu, users, user_biases, items, item_biases, user_at, item_at)
        if bounds is not None:
            np.clip(scores, np.float32(bounds[0]), np.float32(bounds[1]), out=scores)
        if unknown == "nan":
            scores[(user_at < 0) | (item_at < 0)] = np.nan
        kept = [name for name in batch.schema.names if not name.startswith("__")]
        yield pa.RecordBatch.from_arrays(
            [*(batch.column(name) for name in kept), pa.array(scores)], names=[*kept, column]
        )


def _rows(batch: pa.RecordBatch, side: str, rank: int) -> tuple[F32, F32, np.ndarray]:
    """Factors and biases of the rows that were found, and where each line's is, -1 where there is none."""
    lists, biases = batch.column(f"__{side}_p"), batch.column(f"__{side}_b")
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    at = np.where(known, np.cumsum(known) - 1, -1)
    factors = lists.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    found = biases.drop_null().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.ascontiguousarray(factors.reshape(int(known.sum()), rank)), found, at
