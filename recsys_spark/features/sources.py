"""Where the raw values of feature groups come from: tables joined by key, checked, one typed column a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.errors import ConfigError, DataError
from recsys_spark.features.groups import raw_column

if TYPE_CHECKING:
    from recsys_spark.config import GroupSpec

_SHOWN = 5
_FLOAT_MAX = float(np.finfo(np.float32).max)
_CLASSES = (T.StringType, T.IntegralType, T.BooleanType)

_WANTED = {
    "one_hot": "a string, integer or boolean column",
    "multi_hot": "an array of strings or integers",
    "bins": "a number column",
    "numeric": "a number column or an array of numbers",
}


class RawGroups(NamedTuple):
    """The raw values of a side's groups.

    Attributes
    ----------
    rows : the key and, as g0, g1, …, each group's value: string, array<string>, double or array<double>
    integral : of each group, whether its column (or the elements of its arrays) were whole numbers
    """

    rows: DataFrame
    integral: tuple[bool, ...]


def gather(df: DataFrame, key: str, groups: Sequence[GroupSpec]) -> RawGroups:
    """Collect the groups' columns from `df` and from the tables that groups name.

    These tables are joined in full: a key that is in any of them has its row, with nulls for what the others lack.

    Raises
    ------
    ConfigError
        Groups that cannot be made from the columns there are; all of them in one message.
    DataError
        A table without the key or with keys of another type; null or duplicate keys, the first of them named.
    """
    counts = Counter(group.name for group in groups)
    problems = [f"{key} feature group {name} is listed {n} times" for name, n in counts.items() if n > 1]
    sources: dict[str | None, DataFrame] = {None: df}
    for group in groups:
        if group.table not in sources:
            sources[group.table] = read_source(df.sparkSession, str(group.table), key)
        problems += _problems(sources[group.table], key, group)
    if problems:
        raise ConfigError("\n".join(problems))
    joined: DataFrame | None = None
    for table, source in sources.items():
        values = [_typed(source, group).alias(raw_column(i)) for i, group in enumerate(groups) if group.table == table]
        _check_keys(source, key, table)
        part = source.select(_aligned_key(source, df, key, table), *values)
        joined = part if joined is None else joined.join(part, on=key, how="full")
    assert joined is not None  # sources always holds df
    integral = tuple(isinstance(_element(sources[group.table], group), T.IntegralType) for group in groups)
    return RawGroups(joined.select(key, *(raw_column(i) for i in range(len(groups)))), integral)


def read_source(spark: SparkSession, table: str, key: str) -> DataFrame:
    """A Parquet table of features; DataError when it cannot be read or has no column `key`."""
    try:
        source = spark.read.parquet(table)
    except (PySparkException, Py4JJavaError) as error:
        raise DataError(f"features: cannot read the table {table}: {str(error).splitlines()[0]}") from error
    if key not in source.columns:
        raise DataError(f"features: the table {table} has no column {key}; it has {', '.join(source.columns)}")
    return source


def check_values(raw: DataFrame, key: str, groups: Sequence[GroupSpec]) -> dict[int, int]:
    """Refuse numbers that cannot be features; one aggregation over `raw`.

    Returns
    -------
    dict
        Number of columns of each number group by its position (1 unless it is an array).

    Raises
    ------
    DataError
        NaN, infinity, numbers beyond float32, or arrays of unequal length; the first offenders are named.
    """
    numbers = {i: group for i, group in enumerate(groups) if group.kind in ("bins", "numeric")}
    if not numbers:
        return {}
    arrays = {i for i in numbers if isinstance(raw.schema[raw_column(i)].dataType, T.ArrayType)}
    bad = {i: _is_bad(F.col(raw_column(i)), i in arrays) for i in numbers}
    sizes = {i: F.size(raw_column(i)) for i in arrays}
    checks = [F.count_if(bad[i]).alias(f"bad{i}") for i in numbers]
    for i in sizes:
        known = F.when(F.col(raw_column(i)).isNotNull(), sizes[i])
        checks += [F.min(known).alias(f"min{i}"), F.max(known).alias(f"max{i}")]
    found = raw.agg(*checks).first()
    assert found is not None  # a global aggregate always has one row
    widths = {}
    for i, group in numbers.items():
        what = f"features: column {group.column} of group {group.name}"
        if found[f"bad{i}"]:
            raise DataError(
                f"{what}: {found[f'bad{i}']} values are NaN, infinite or beyond float32, first of {key} "
                f"{_first(raw.where(bad[i]), key)}; use null for a missing value"
            )
        if i in arrays and found[f"min{i}"] != found[f"max{i}"]:
            unequal = raw.where(F.col(raw_column(i)).isNotNull() & (sizes[i] != found[f"max{i}"]))
            raise DataError(
                f"{what}: arrays must have one length, found {found[f'min{i}']} to {found[f'max{i}']}; "
                f"shorter than the longest: {key} {_first(unequal, key)}"
            )
        widths[i] = (found[f"max{i}"] or 0) if i in arrays else 1
    return widths


def _problems(source: DataFrame, key: str, group: GroupSpec) -> list[str]:
    """Why the group cannot be made from its table, if so."""
    what, place = f"{key} feature group {group.name}", f"the table {group.table}" if group.table else f"the {key} table"
    if group.column == key or group.column not in source.columns:
        rest = ", ".join(name for name in source.columns if name != key) or "no column beside the key"
        return [f"{what}: no column {group.column} in {place}; there is: {rest}"]
    found, element = source.schema[group.column].dataType, _element(source, group)
    array = isinstance(found, T.ArrayType)
    fits = {
        "one_hot": isinstance(found, _CLASSES),
        "multi_hot": array and isinstance(element, _CLASSES),
        "bins": isinstance(found, T.NumericType),
        "numeric": isinstance(element, T.NumericType),
    }
    if not fits[group.kind]:
        wanted = _WANTED[group.kind]
        return [f"{what}: {group.kind} needs {wanted}, and {group.column} is {found.simpleString()}"]
    return []


def _element(source: DataFrame, group: GroupSpec) -> T.DataType:
    """Type of the group's column, or of the elements of its arrays."""
    found = source.schema[group.column].dataType
    return found.elementType if isinstance(found, T.ArrayType) else found


def _typed(source: DataFrame, group: GroupSpec) -> Column:
    """The group's column as what its encoder takes."""
    to = "double" if group.kind in ("bins", "numeric") else "string"
    array = isinstance(source.schema[group.column].dataType, T.ArrayType)
    return F.col(f"`{group.column}`").cast(f"array<{to}>" if array else to)


def _aligned_key(source: DataFrame, df: DataFrame, key: str, table: str | None) -> Column:
    wanted, found = df.schema[key].dataType, source.schema[key].dataType
    if wanted != found and not (isinstance(wanted, T.IntegralType) and isinstance(found, T.IntegralType)):
        raise DataError(
            f"features: {key} is {found.simpleString()} in the table {table} and {wanted.simpleString()} elsewhere; "
            "store it as the same type"
        )
    return F.col(key).cast(wanted).alias(key)


def _check_keys(source: DataFrame, key: str, table: str | None) -> None:
    """Refuse null and duplicate keys; one aggregation."""
    offenders = source.groupBy(key).count().where(F.col(key).isNull() | (F.col("count") > 1))
    found = offenders.orderBy(key).limit(_SHOWN).collect()
    if found:
        place = f"the table {table}" if table else f"the {key} table"
        rows = ", ".join(f"{row[key]} ({row['count']} rows)" for row in found)
        raise DataError(f"features: each {key} must have one row in {place}; null or more than once: {rows}")


def _is_bad(value: Column, array: bool) -> Column:
    def bad(x: Column) -> Column:
        return F.isnan(x.cast("double")) | (F.abs(x.cast("double")) > _FLOAT_MAX)

    return F.coalesce(F.exists(value, bad) if array else bad(value), F.lit(False))


def _first(offenders: DataFrame, key: str) -> str:
    return ", ".join(str(row[key]) for row in offenders.select(key).orderBy(key).limit(_SHOWN).collect())
