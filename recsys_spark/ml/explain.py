"""`als.explain` of one user and item of DataFrames. Driver; one user's ratings come to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark.als.explain import explain
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import SIDE_NAMES, USERS
from recsys_spark.errors import DataError
from recsys_spark.frames import check_classic, model_id_column
from recsys_spark.ml.ratings import offence, rating_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def explain_frame(
    fitted: FittedModel,
    user: Any,
    item: Any,
    ratings: DataFrame,
    features: DataFrame | None,
    wanted: Mapping[str, str],
) -> DataFrame:
    """(term, id, name, contribution), the parts that every score has first, then by size.

    Raises
    ------
    DataError
        The model does not know the item; ratings that cannot be used, with the first of them.
    """
    check_classic(ratings)
    row = int(fitted.item.index(pa.array([item], fitted.item.ids.type))[0])
    if row < 0:
        raise DataError(f"the model does not know the item {item!r}: there is no score to explain")
    ids = [model_id_column(ratings, wanted[s], s, getattr(fitted, s).ids.type) for s in SIDE_NAMES]
    mine = ratings.where(ids[USERS] == F.lit(user))
    named = {"user": "id", "item": "other"}
    columns = rating_columns(mine, wanted)
    typed = [
        model_id_column(columns, s, s, getattr(fitted, s).ids.type).alias(named[s]) for s in SIDE_NAMES
    ]  # fmt: skip
    rest = [F.col(name).cast("float") for name in ("rating", "weight") if name in columns.columns]
    table = columns.select(*typed, *rest).toArrow()
    if any(column.null_count for column in table.columns) or not np.isfinite(table["rating"].to_numpy()).all():
        raise offence(mine, wanted) or DataError("ratings hold values that are not finite as 32-bit floats")
    described = _described(fitted, user, features)
    if not table.num_rows and (described is None or not described.num_rows):
        table = table.slice(0, 0)
        described = pa.table(
            {
                "id": pa.array([user], fitted.user.ids.type),
                "indices": pa.array([[]], pa.list_(pa.int32())),
                "values": pa.array([[]], pa.list_(pa.float32())),
            }
        )
    lines = explain(fitted, row, table, described)
    heads, rest_lines = lines[:3], sorted(lines[3:], key=lambda line: -abs(line.contribution))
    ordered = [*heads, *rest_lines]
    rows = pa.array([line.row if line.row >= 0 else None for line in ordered], pa.int64())
    out = pa.table(
        {
            "term": [line.term for line in ordered],
            "id": fitted.item.ids.take(rows),
            "name": [line.name or None for line in ordered],
            "contribution": [line.contribution for line in ordered],
        }
    )
    return ratings.sparkSession.createDataFrame(out)


def _described(fitted: FittedModel, user: Any, features: DataFrame | None) -> pa.Table | None:
    if features is None:
        return None
    key = model_id_column(features, features.columns[0], "user", fitted.user.ids.type)
    return features.where(key == F.lit(user)).select(key.alias("id"), "indices", "values").toArrow()
