"""Columns of DataFrames that users give: whether they are there, and ids in the type that is wanted. Driver, no job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.errors import DataError
from recsys_spark.schema import INDICES, VALUES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def check_classic(dataset: DataFrame) -> None:
    """Raise DataError for a DataFrame of a Spark Connect session, which has no RDDs."""
    if type(dataset).__module__.startswith("pyspark.sql.connect"):
        raise DataError(
            "BlockALS works on RDDs, which a Spark Connect session does not have: use a classic session "
            "(SparkSession.builder.master(...), or spark.api.mode=classic)"
        )


def check_columns(dataset: DataFrame, wanted: Mapping[str, str]) -> None:
    """Raise DataError that names the columns that are missing and those that there are."""
    missing = {name: column for name, column in wanted.items() if column not in dataset.columns}
    if missing:
        lacking = ", ".join(f"{column!r} (of the {name})" for name, column in missing.items())
        raise DataError(f"no column {lacking} in the data, which have {', '.join(dataset.columns)}")


def id_column(dataset: DataFrame, column: str, side: str) -> Column:
    """An id column as it is, or as a long where it holds floats or decimals: null there for what is not whole.

    Raises
    ------
    DataError
        The column is missing, or of a type that ids cannot have.
    """
    check_columns(dataset, {side: column})
    kind = dataset.schema[column].dataType
    found = F.col(quoted(column))
    if isinstance(kind, T.IntegralType | T.StringType):
        return found
    if isinstance(kind, T.FractionalType):
        whole = found.try_cast("long")
        return F.when(whole.cast(kind) == found, whole)
    raise DataError(
        f"column {column!r} is {kind.simpleString()}: {side} ids are integers, strings, or numbers that are whole"
    )


def model_id_column(dataset: DataFrame, column: str, side: str, ids: pa.DataType) -> Column:
    """`id_column` in the type of a model's ids; DataError where it cannot be."""
    found, kind = id_column(dataset, column, side), dataset.schema[column].dataType
    if pa.types.is_integer(ids) == isinstance(kind, T.StringType):
        raise DataError(f"{side} column {column!r} is {kind.simpleString()}, but the model's {side} ids are {ids}")
    return found.cast("long") if pa.types.is_integer(ids) else found


def id_ddl(ids: pa.DataType) -> str:
    """Spark's type of a model's ids, as DDL."""
    return "bigint" if pa.types.is_integer(ids) else "string"


def feature_rows(rows: DataFrame, side: str, text_ids: bool) -> DataFrame:
    """Feature rows as (id, indices, values): the id is the first column, whatever its name.

    Raises
    ------
    DataError
        A column is missing or of another type, or ids are text where those of the ratings (``text_ids``) are not, or
        the reverse.
    """
    check_classic(rows)
    check_columns(rows, {f"{side} features": INDICES, f"{side} features' values": VALUES})
    for name in (INDICES, VALUES):
        kind = rows.schema[name].dataType
        if not (isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.NumericType)):
            raise DataError(
                f"column {name!r} of the {side} features is {kind.simpleString()}: an array of numbers is wanted, as "
                "recsys_spark.features.encode makes it"
            )
    key = rows.columns[0]
    found = rows.schema[key].dataType
    if isinstance(found, T.StringType) != text_ids:
        wanted = "strings" if text_ids else "numbers"
        raise DataError(
            f"the ids of the {side} features, column {key!r}, are {found.simpleString()}, but the {side} ids of the "
            f"ratings are {wanted}: cast one of them"
        )
    return rows.select(id_column(rows, key, side).alias("id"), INDICES, VALUES)


def quoted(column: str) -> str:
    """A column's name so that a dot in it is no path."""
    return "`" + column.replace("`", "``") + "`"
