"""Assigning ratings to folds, by rules that depend on the rows and a seed alone, never on how they are partitioned.

Test fold t: its rows are those with fold t; all others train. Kinds with one test set give fold 0 (test) and -1 (always
training). Hashes are Spark's xxhash64 of the ids, a label and the seed, so a row's fold does not depend on other rows.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timezone
from typing import TYPE_CHECKING

from recsys_spark import schema
from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from recsys_spark.config import SplitSettings

TEST_FOLD, ALWAYS_TRAIN = 0, -1


def split(ratings: DataFrame, settings: SplitSettings) -> DataFrame:
    """The ratings with their `fold` (int), by the kind of split that the settings name.

    Raises
    ------
    DataError
        A time cut that leaves no ratings on one side.
    """
    if settings.kind == "kfold":
        return kfold(ratings, settings.folds, settings.seed)
    if settings.kind == "latest_n":
        return latest_n(ratings, settings.n, settings.seed)
    if settings.kind == "leave_one_out":
        return latest_n(ratings, 1, settings.seed)
    if settings.kind == "cold_items":
        return cold_items(ratings, settings.share, settings.seed)
    return time_cut(ratings, settings.cut, settings.share)


def kfold(ratings: DataFrame, folds: int, seed: int) -> DataFrame:
    """Folds 0 … `folds` − 1 of about equal size, each rating in one of them at random."""
    from pyspark.sql import functions as F

    fold = F.pmod(_hash("fold", seed, schema.USER, schema.ITEM), F.lit(folds)).cast("int")
    return ratings.withColumn(schema.FOLD, fold)


def latest_n(ratings: DataFrame, n: int, seed: int) -> DataFrame:
    """Test: the latest `n` ratings of each user, fewer where a user has no more than n: one always stays for training.

    Among ratings of the same second (frequent in MovieLens) a hash decides, not the film's id.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    of_user = Window.partitionBy(schema.USER)
    latest = of_user.orderBy(F.desc(schema.TIMESTAMP), _hash("latest", seed, schema.USER, schema.ITEM), schema.ITEM)
    held_out = F.least(F.lit(n), F.count(F.lit(1)).over(of_user) - 1)
    return ratings.withColumn(schema.FOLD, _test_where(F.row_number().over(latest) <= held_out))


def time_cut(ratings: DataFrame, cut: date | None, share: float) -> DataFrame:
    """Test: everything from one moment on, whoever rated.

    Parameters
    ----------
    cut : first test day (UTC); None: the moment from which on at most `share` of the ratings lie, found exactly

    Raises
    ------
    DataError
        No rating before that moment, or none from it on.
    """
    from pyspark.sql import functions as F

    first, last, count = _span(ratings)
    moment = (
        int(datetime.combine(cut, time(), timezone.utc).timestamp())
        if cut is not None
        else _moment_of_share(ratings, math.floor(share * count))
    )
    if not first < moment <= last:
        raise DataError(
            f"a time cut at {_utc(moment)} leaves no ratings {'before it' if moment <= first else 'after it'}: "
            f"they are from {_utc(first)} to {_utc(last)}; choose another split.cut or split.share"
        )
    return ratings.withColumn(schema.FOLD, _test_where(F.unix_seconds(schema.TIMESTAMP) >= moment))


def cold_items(ratings: DataFrame, share: float, seed: int) -> DataFrame:
    """Test: all ratings of about `share` of the items, chosen at random: nobody in training has rated these."""
    return ratings.withColumn(schema.FOLD, _test_where(_uniform("cold", seed, schema.ITEM) < share))


def parts(df: DataFrame, test_fold: int, validation_share: float, seed: int) -> DataFrame:
    """Add `part`: test for the rows of `test_fold`; of the others about `validation_share` validation, the rest train.

    Parameters
    ----------
    df : columns user, item, fold, and any others
    seed : of the choice of validation rows, which is independent of that of the folds
    """
    from pyspark.sql import functions as F

    validation = _uniform("validation", seed, schema.USER, schema.ITEM) < validation_share
    part = (
        F.when(F.col(schema.FOLD) == test_fold, schema.TEST).when(validation, schema.VALIDATION).otherwise(schema.TRAIN)
    )
    return df.withColumn(schema.PART, part)


def _hash(label: str, seed: int, *columns: str) -> Column:
    """64 bits per row; two labels give independent ones for the same ids and seed."""
    from pyspark.sql import functions as F

    return F.xxhash64(F.lit(label), F.lit(seed).cast("bigint"), *columns)


def _uniform(label: str, seed: int, *columns: str) -> Column:
    """A number in [0, 1) per row, from the upper 53 bits of the hash."""
    from pyspark.sql import functions as F

    return F.shiftrightunsigned(_hash(label, seed, *columns), 11) / F.lit(float(1 << 53))


def _test_where(condition: Column) -> Column:
    from pyspark.sql import functions as F

    return F.when(condition, TEST_FOLD).otherwise(ALWAYS_TRAIN).cast("int")


def _span(ratings: DataFrame) -> tuple[int, int, int]:
    """First and last second, and number of ratings."""
    from pyspark.sql import functions as F

    seconds = F.unix_seconds(schema.TIMESTAMP)
    found = ratings.agg(F.min(seconds), F.max(seconds), F.count(seconds)).first()
    if found is None or not found[2]:
        raise DataError("a time cut needs ratings with timestamps, found none")
    return found[0], found[1], found[2]


def _moment_of_share(ratings: DataFrame, wanted: int) -> int:
    """The earliest second from which on at most `wanted` ratings lie: first its day, then the second within the day.

    Exact, so that it does not depend on partitions as sampled quantiles do, and no table of all seconds is needed.
    """
    day_seconds = 86_400
    from pyspark.sql import functions as F

    seconds = F.unix_seconds(schema.TIMESTAMP)
    days = ratings.groupBy(F.floor(seconds / day_seconds).alias("at")).count().collect()
    day, later = _crossing({row["at"]: row["count"] for row in days}, wanted)
    inside = ratings.where(F.floor(seconds / day_seconds) == day).groupBy(seconds.alias("at")).count().collect()
    second, _ = _crossing({row["at"]: row["count"] for row in inside}, wanted - later)
    return second + 1


def _crossing(counts: dict[int, int], wanted: int) -> tuple[int, int]:
    """The latest place from which on more than `wanted` lie, and how many lie after it."""
    later = 0
    for place in sorted(counts, reverse=True):
        if later + counts[place] > wanted:
            return place, later
        later += counts[place]
    return min(counts), later - counts[min(counts)]


def _utc(seconds: int) -> str:
    return (
        datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
    )
