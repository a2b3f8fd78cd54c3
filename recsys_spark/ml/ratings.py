"""From a DataFrame to the engine's (user, item, rating[, weight][, held_out]), and what is wrong with it. Driver.

Nothing here runs a job but `offence` and `feature_offence`, which are asked only after the engine has met a row that it
cannot use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.errors import DataError
from recsys_spark.features.columns import flat_rows
from recsys_spark.frames import check_columns, id_column, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

IDS = ("user", "item")
_SHOWN = 5


def rating_columns(dataset: DataFrame, wanted: Mapping[str, str]) -> DataFrame:
    """(user, item, rating[, weight][, held_out]) from the columns that ``wanted`` names; no rating is 1 everywhere.

    Raises
    ------
    DataError
        A column is missing or of a type that cannot be meant.
    """
    check_columns(dataset, wanted)
    columns = {name: id_column(dataset, wanted[name], name) for name in IDS}
    for name in ("rating", "weight"):
        if name in wanted:
            kind = dataset.schema[wanted[name]].dataType
            if not isinstance(kind, T.NumericType):
                raise DataError(
                    f"column {wanted[name]!r} is {kind.simpleString()}: a {name} is a number; cast it first"
                )
            columns[name] = F.col(quoted(wanted[name])).cast(T.DoubleType())
    columns.setdefault("rating", F.lit(1.0))
    if "held_out" in wanted:
        columns["held_out"] = F.coalesce(F.col(quoted(wanted["held_out"])).cast(T.BooleanType()), F.lit(False))
    return dataset.select(*(column.alias(name) for name, column in columns.items()))


def offence(dataset: DataFrame, wanted: Mapping[str, str]) -> DataError | None:
    """What is wrong with rows that the engine could not use, by column, with the first of them; None if nothing is.

    Runs one job, and one more for each kind of fault found.
    """
    faults = _faults(dataset, wanted)
    counts = dataset.agg(*(F.count_if(bad).alias(str(n)) for n, (_, _, bad) in enumerate(faults))).collect()[0]
    lines = []
    for (column, what, bad), count in zip(faults, counts, strict=True):
        if count:
            shown = dataset.where(bad).select(*(F.col(quoted(c)) for c in dict.fromkeys(wanted.values())))
            rows = [row.asDict() for row in shown.limit(_SHOWN).collect()]
            lines.append(f"column {column!r} holds {what} in {count} row(s); the first: {rows}")
    return DataError("; ".join(lines) + ". Drop or mend them") if lines else None


def feature_offence(rows: DataFrame, side: str, width: int) -> DataError | None:
    """What is wrong with feature rows (id, indices, values) that blocks could not be made of; None if nothing is."""
    found = rows.mapInArrow(partial(_feature_faults, side=side, width=width), "fault string").first()
    return None if found is None else DataError(f"{found[0]}. Drop or mend them")


def _feature_faults(batches: Iterable[pa.RecordBatch], side: str, width: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        try:
            flat_rows(batch, side, width)
        except DataError as problem:
            yield pa.RecordBatch.from_pydict({"fault": [str(problem)]})


def _faults(dataset: DataFrame, wanted: Mapping[str, str]) -> list[tuple[str, str, Column]]:
    """(column, what is wrong, which rows) of all that can be wrong."""
    faults: list[tuple[str, str, Column]] = []
    for side in IDS:
        found = F.col(quoted(wanted[side]))
        faults.append((wanted[side], "null ids", found.isNull()))
        if isinstance(dataset.schema[wanted[side]].dataType, T.FractionalType):
            broken = found.isNotNull() & id_column(dataset, wanted[side], side).isNull()
            faults.append((wanted[side], f"{side} ids that are not whole", broken))
    for name in ("rating", "weight"):
        if name in wanted:
            value = F.col(quoted(wanted[name])).cast("double")
            infinite = F.abs(value.cast("float")) == float("inf")
            faults.append((wanted[name], f"null or NaN {name}s", value.isNull() | F.isnan(value)))
            faults.append((wanted[name], f"infinite {name}s", infinite))
    if "weight" in wanted:
        faults.append((wanted["weight"], "negative weights", F.col(quoted(wanted["weight"])) < 0))
    return faults
