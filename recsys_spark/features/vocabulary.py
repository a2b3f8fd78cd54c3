"""Which values a side's features take: counted by Spark in one job, ordered and named on the driver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_spark.errors import ConfigError
from recsys_spark.features.groups import raw_column
from recsys_spark.features.sources import RawGroups

if TYPE_CHECKING:
    from recsys_spark.config import GroupSpec

MAX_VALUES = 100_000
"""Most columns that one group may have: they are collected, and the projections have a row for each."""


class Vocabulary(NamedTuple):
    """A group's columns in order: values, names, counts (rows with that value); and the rows that have any value."""

    values: tuple[str, ...] | tuple[int, ...]
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    rows: int


def learn_vocabularies(raw: RawGroups, groups: Sequence[GroupSpec]) -> dict[int, Vocabulary]:
    """Find the values of each group of classes (one_hot, multi_hot, bins) by its position; one job.

    Raises
    ------
    ConfigError
        A group with more than MAX_VALUES values of at least its `min_count` rows.
    """
    classes = {i: group for i, group in enumerate(groups) if group.kind != "numeric"}
    if not classes:
        return {}
    tables = [_counts(raw.rows, i, group) for i, group in classes.items()]
    tables += [_known(raw.rows, i) for i in classes]
    found: dict[int, dict[str, int]] = defaultdict(dict)
    known: dict[int, int] = {}
    for position, value, count in reduce(DataFrame.unionAll, tables).collect():
        if value is None:
            known[position] = count
        else:
            found[position][value] = count
    problems = [
        f"feature group {group.name}: column {group.column} has more than {MAX_VALUES:,} values; "
        "raise min_count, or make bins of it"
        for i, group in classes.items()
        if len(found[i]) > MAX_VALUES
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return {i: _ordered(group, found[i], raw.integral[i], known[i]) for i, group in classes.items()}


def bin_label(group: str, position: int, width: float, integral: bool) -> str:
    """Name of a bin: first and last value of whole numbers, else the half-open interval.

    >>> bin_label("year", 398, 5.0, True), bin_label("year", 1990, 1.0, True), bin_label("price", 3, 0.5, False)
    ('year=1990-1994', 'year=1990', 'price=[1.5,2)')
    """
    low, high = position * width, (position + 1) * width
    if not (integral and width.is_integer()):
        return f"{group}=[{low:.12g},{high:.12g})"
    return f"{group}={int(low)}" if width == 1 else f"{group}={int(low)}-{int(high) - 1}"


def _ordered(group: GroupSpec, counts: dict[str, int], integral: bool, rows: int) -> Vocabulary:
    """Strings by code point, whole numbers and bins by size."""
    if group.width is not None:
        bins = sorted(int(value) for value in counts)
        labels = tuple(bin_label(group.name, value, group.width, integral) for value in bins)
        return Vocabulary(tuple(bins), labels, tuple(counts[str(value)] for value in bins), rows)
    values = sorted(counts, key=int) if integral else sorted(counts)
    labels = tuple(f"{group.name}={value}" for value in values)
    return Vocabulary(tuple(values), labels, tuple(counts[value] for value in values), rows)


def _counts(raw: DataFrame, position: int, group: GroupSpec) -> DataFrame:
    """Position, value as text, number of rows with it; one more than MAX_VALUES rows where there are too many."""
    values = raw.select(_value(position, group).alias("value")).where(F.col("value").isNotNull())
    kept = values.groupBy("value").count().where(F.col("count") >= group.min_count).limit(MAX_VALUES + 1)
    return kept.select(F.lit(position), F.col("value").cast("string"), F.col("count"))


def _value(position: int, group: GroupSpec) -> Column:
    column = F.col(raw_column(position))
    if group.kind == "multi_hot":
        return F.explode(F.array_distinct(column))
    return F.floor(column / F.lit(group.width)) if group.kind == "bins" else column


def _known(raw: DataFrame, position: int) -> DataFrame:
    """Position, null, number of rows that have a value."""
    return raw.select(F.lit(position), F.lit(None).cast("string"), F.count(raw_column(position)))
