"""Parsing ratings where Spark holds them: no row leaves the JVM, and none is lost between `accepted` and `rejected`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from recsys_spark import schema
from recsys_spark.ingest.parse import MAX_CONTENT
from recsys_spark.ingest.raw import RawTable
from recsys_spark.ingest.releases import MOVIE_ID, RATING, TIMESTAMP, USER_ID, Scale

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_NUMBER = r"-?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)"
_PATTERNS = {USER_ID: "[0-9]{1,19}", MOVIE_ID: "[0-9]{1,19}", RATING: _NUMBER, TIMESTAMP: "[0-9]{1,12}"}
_WORDS = {USER_ID: "user id", MOVIE_ID: "movie id", RATING: "rating", TIMESTAMP: "timestamp"}
_LAST_SECOND = 4_102_444_800
"""2100-01-01: a later timestamp is one in milliseconds."""
_GRID = 1e-6
_CONTROL = r"[\x00-\x08\x0e-\x1f\x7f]"


def parse_ratings(lines: DataFrame, table: RawTable, scale: Scale) -> DataFrame:
    """Ratings from physical lines.

    Parameters
    ----------
    lines : as :func:`recsys_spark.ingest.raw.read_lines` gives them
    table : whose columns say which field is which; columns beyond the four are not read
    scale : ratings outside it, or between its steps, are rejected

    Returns
    -------
    DataFrame
        A row per line: user, item, rating (float32), timestamp (UTC), `source`, `line`, and `reason`, which is null
        for a rating and otherwise says, as one of a few constants, why the line is none.
    """
    from pyspark.sql import functions as F

    text = _unquoted(F.col("line")) if table.format.quoted else F.col("line")
    fields = lines.select(
        "line",
        "source",
        text.rlike(_whole_line(table)).alias("clean"),
        F.split(text, re.escape(table.format.separator), -1).alias("fields"),
    )
    at = {name: F.get("fields", F.lit(table.columns.index(name))) for name in _WORDS}
    values = fields.select(
        "line",
        "source",
        "clean",
        "fields",
        at[USER_ID].try_cast("bigint").alias(schema.USER),
        at[MOVIE_ID].try_cast("bigint").alias(schema.ITEM),
        at[RATING].try_cast("double").alias(schema.RATING),
        at[TIMESTAMP].try_cast("bigint").alias("seconds"),
    )
    in_scale = _in_scale(F.col(schema.RATING), scale)
    good = (
        F.col("clean")
        & F.col(schema.USER).isNotNull()
        & F.col(schema.ITEM).isNotNull()
        & in_scale
        & (F.col("seconds") < _LAST_SECOND)
    )
    reason = F.when(good, F.lit(None).cast("string")).otherwise(_reason(table, at, in_scale))
    return values.select(
        schema.USER,
        schema.ITEM,
        F.col(schema.RATING).cast("float").alias(schema.RATING),
        F.timestamp_seconds("seconds").alias(schema.TIMESTAMP),
        "source",
        "line",
        reason.alias("reason"),
    )


def rejected_ratings(parsed: DataFrame) -> DataFrame:
    """The lines that are no ratings, as the table `rejected` has them, as valid UTF-8 of at most 4,096 characters."""
    from pyspark.sql import functions as F

    content = F.substring(F.make_valid_utf8("line"), 1, MAX_CONTENT)
    return parsed.where(F.col("reason").isNotNull()).select("source", content.alias("content"), "reason")


def rank_duplicates(parsed: DataFrame, partitions: int) -> DataFrame:
    """The accepted rows, sorted by user and item, with `copy`: 1 for the one of a (user, item) that counts, the latest.

    At the same second the higher rating counts. One shuffle, by user: the files that are written from it hold whole
    users.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    order = Window.partitionBy(schema.USER, schema.ITEM).orderBy(F.desc(schema.TIMESTAMP), F.desc(schema.RATING))
    return (
        parsed.where(F.col("reason").isNull())
        .select(schema.USER, schema.ITEM, schema.RATING, schema.TIMESTAMP)
        .repartition(partitions, schema.USER)
        .withColumn("copy", F.row_number().over(order))
    )


def _unquoted(line: Column) -> Column:
    """The line without the quotes of fields that are quoted whole: no field of a rating needs them."""
    from pyspark.sql import functions as F

    return F.when(line.contains('"'), F.regexp_replace(line, '"([^",]*)"', "$1")).otherwise(line)


def _whole_line(table: RawTable) -> str:
    separator = re.escape(table.format.separator)
    any_field = f"(?:(?!{separator}).)*"
    return r"(?s)\A" + separator.join(f" *{_PATTERNS.get(name, any_field)} *" for name in table.columns) + r"\z"


def _in_scale(rating: Column, scale: Scale) -> Column:
    from pyspark.sql import functions as F

    inside = rating.between(scale.low, scale.high)
    if scale.step is None:
        return inside
    steps = (rating - scale.low) / scale.step
    return inside & (F.abs(steps - F.round(steps)) < _GRID)


def _reason(table: RawTable, at: dict[str, Column], in_scale: Column) -> Column:
    """Why a line that is not good is bad: the first thing that is wrong with it."""
    from pyspark.sql import functions as F

    line, width = F.col("line"), F.size("fields")
    cases: list[tuple[Column, str]] = [
        (line.rlike(r"\A\s*\z"), "empty line"),
        (~F.is_valid_utf8(line) | line.rlike(_CONTROL), "binary garbage"),
        (width < len(table.columns), "truncated line"),
        (width > len(table.columns), "too many columns"),
    ]
    for name, word in _WORDS.items():
        cases.append((F.trim(at[name]) == "", f"empty {word}"))
        bad = "rating is not a number" if name == RATING else f"bad {word}"
        cases.append((~at[name].rlike(rf"\A *{_PATTERNS[name]} *\z"), bad))
        if name == RATING:
            cases.append((~in_scale, "rating off the scale"))
        elif name != TIMESTAMP:
            cases.append((at[name].try_cast("bigint").isNull(), bad))
    return F.coalesce(*(F.when(wrong, F.lit(reason)) for wrong, reason in cases), F.lit("bad timestamp"))
