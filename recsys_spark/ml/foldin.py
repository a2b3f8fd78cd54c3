"""Folding ratings and features into a model, on executors: `als.foldin` over partitions of a DataFrame. Driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from recsys_spark.als.foldin import Folded, fold_in, side_of
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import SIDE_NAMES, other
from recsys_spark.errors import DataError, RecsysError
from recsys_spark.frames import check_classic, feature_rows, id_ddl, model_id_column
from recsys_spark.ml.ratings import offence, rating_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame

_SCHEMA = pa.schema(
    [("factors", pa.list_(pa.float32())), ("bias", pa.float32()), ("count", pa.float64()), ("rated", pa.bool_()),
     ("problem", pa.string())]
)  # fmt: skip
_DDL = "factors array<float>, bias float, count double, rated boolean, problem string"
_BAD = "bad rows"


def fold_frame(
    shared: Broadcast[FittedModel],
    fitted: FittedModel,
    side: int,
    ratings: DataFrame | None,
    features: DataFrame | None,
    wanted: Mapping[str, str],
) -> tuple[Folded, np.ndarray]:
    """Rows of all ids in ``ratings`` and ``features``, and which of them have ratings there.

    One shuffle by id; ratings and features stay on executors, the rows come to the driver.

    Raises
    ------
    DataError
        Columns that are missing or of another type, rows that cannot be used: with the first of them.
    FitError
        A row has no solution.
    """
    kind = side_of(fitted, side).ids.type
    parts = []
    if ratings is not None:
        check_classic(ratings)
        parts.append(_typed(rating_columns(ratings, wanted), fitted, side))
    if features is not None:
        described = feature_rows(features, SIDE_NAMES[side], text_ids=not pa.types.is_integer(kind))
        parts.append(described.withColumn("id", F.col("id").cast(id_ddl(kind))))
    rows = parts[0].unionByName(parts[1], allowMissingColumns=True) if len(parts) > 1 else parts[0]
    ddl = f"id {id_ddl(kind)}, {_DDL}"
    found = rows.repartition("id").mapInArrow(partial(_fold, shared=shared, side=side), ddl).toArrow()
    problems = found["problem"].drop_null().to_pylist()
    if problems:
        told = offence(ratings, wanted) if ratings is not None and _BAD in problems else None
        raise told or DataError(f"folding in failed: {problems[0]}")
    found = found.take(pc.sort_indices(found["id"]))
    factors = pc.list_flatten(found["factors"]).to_numpy().astype(np.float32).reshape(found.num_rows, fitted.rank)
    biases = found["bias"].to_numpy().astype(np.float32)
    ids = found["id"].combine_chunks().cast(kind)
    folded = Folded(ids, np.ascontiguousarray(factors), biases, found["count"].to_numpy().astype(np.float64))
    return folded, found["rated"].to_numpy()


def only(folded: Folded, which: np.ndarray) -> Folded:
    """Some of the rows."""
    at = np.flatnonzero(which)
    return Folded(
        folded.ids.take(pa.array(at)), np.ascontiguousarray(folded.factors[at]), folded.biases[at], folded.counts[at]
    )


def _typed(ratings: DataFrame, fitted: FittedModel, side: int) -> DataFrame:
    names = {"id": side, "other": other(side)}
    columns = [
        model_id_column(ratings, SIDE_NAMES[s], SIDE_NAMES[s], side_of(fitted, s).ids.type).alias(name)
        for name, s in names.items()
    ]
    numbers = [F.col(name).cast("float").alias(name) for name in ("rating", "weight") if name in ratings.columns]
    return ratings.select(*columns, *numbers)


def _fold(batches: Iterable[pa.RecordBatch], shared: Broadcast[FittedModel], side: int) -> Iterator[pa.RecordBatch]:
    """A partition's rows, whole ids each; or one that says what is wrong: Spark would wrap an error in its own."""
    given = list(batches)
    if not given:
        return
    table, model = pa.Table.from_batches(given), shared.value
    kind = pa.int64() if pa.types.is_integer(side_of(model, side).ids.type) else pa.string()
    rated, features = _apart(table)
    if _is_bad(rated):
        yield _told(kind, _BAD)
        return
    try:
        folded = fold_in(model, side, rated, features)
    except RecsysError as problem:
        yield _told(kind, str(problem))
        return
    has = pc.is_in(folded.ids, value_set=rated["id"].combine_chunks().cast(kind))
    lists = pa.array(list(folded.factors), pa.list_(pa.float32()))
    nothing = pa.nulls(len(folded.ids), pa.string())
    columns = [folded.ids.cast(kind), lists, pa.array(folded.biases), pa.array(folded.counts), has, nothing]
    yield pa.RecordBatch.from_arrays(columns, schema=pa.schema([("id", kind), *_SCHEMA]))


def _apart(table: pa.Table) -> tuple[pa.Table, pa.Table | None]:
    """(ratings, features) of rows that are one or the other."""
    names = [name for name in ("id", "other", "rating", "weight") if name in table.column_names]
    if "indices" not in table.column_names:
        return table.select(names), None
    described = pc.is_valid(table["indices"])
    features = table.filter(described).select(["id", "indices", "values"])
    if "other" not in names:
        nobody = pa.table(
            {"id": features["id"].slice(0, 0), "other": pa.nulls(0), "rating": pa.array([], pa.float32())}
        )
        return nobody, features
    return table.filter(pc.invert(described)).select(names), features


def _is_bad(rated: pa.Table) -> bool:
    if any(column.null_count for column in rated.columns):
        return True
    numbers = [rated[name].to_numpy() for name in ("rating", "weight") if name in rated.column_names]
    return not all(np.isfinite(n).all() for n in numbers) or bool(len(numbers) > 1 and (numbers[1] < 0).any())


def _told(kind: pa.DataType, problem: str) -> pa.RecordBatch:
    row = {"id": None, "factors": None, "bias": None, "count": None, "rated": None, "problem": problem}
    return pa.RecordBatch.from_pylist([row], schema=pa.schema([("id", kind), *_SCHEMA]))
