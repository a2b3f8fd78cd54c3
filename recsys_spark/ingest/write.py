"""What an ingest writes: ratings, movies, users and rejected lines, with an account of every line; driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsys_spark import lake, schema
from recsys_spark.ingest import entities
from recsys_spark.ingest.ratings import parse_ratings, rank_duplicates, rejected_ratings
from recsys_spark.ingest.raw import RawRelease, RawTable, read_lines
from recsys_spark.ingest.releases import Scale
from recsys_spark.ingest.report import Account, count_reasons, refuse

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Observation, SparkSession

_BYTES_PER_FILE = 64 << 20
"""Text of the release per file: some 2.3 million ratings of ml-32m, sorted in memory by one task."""


def write_tables(
    spark: SparkSession, draft: lake.Draft, release: RawRelease, scale: Scale, max_share: float
) -> tuple[dict[str, Account], dict[str, int]]:
    """Write all tables of a release into a draft.

    Returns
    -------
    accounts : by table
    reasons : number of rejected lines by reason, over all tables

    Raises
    ------
    DataError
        A table is empty, or more than `max_share` of it is bad, or a count does not add up.
    """
    accounts: dict[str, Account] = {}
    bad: dict[str, DataFrame] = {}
    for table in reversed(release.tables):  # the ratings last: a mistake in the others costs a second, not minutes
        write = _write_ratings if table.kind == "ratings" else _write_entities
        accounts[table.kind], bad[table.kind] = write(spark, draft, table, scale)
        refuse(accounts[table.kind], bad[table.kind], max_share, table.files)
        accounts[table.kind].check()
    return accounts, _write_rejected(spark, draft, accounts, bad)


def measure(spark: SparkSession, draft: lake.Draft, accounts: Mapping[str, Account]) -> dict[str, float]:
    """Measures of what was written: counts, density, and what is missing from the films."""
    from pyspark.sql import functions as F

    ratings = spark.read.parquet(f"{draft.path}/ratings")
    movies = spark.read.parquet(f"{draft.path}/movies")
    users = ratings.select(schema.USER).distinct().count()
    rated = ratings.groupBy(schema.ITEM).agg(F.count(F.lit(1)).alias("n"), F.sum(schema.RATING).alias("sum"))
    listed = movies.select(schema.ITEM, F.lit(True).alias("listed"))
    found = (
        rated.join(listed, schema.ITEM, "left")
        .agg(
            F.count(F.lit(1)).alias("items"),
            F.sum("sum").alias("sum"),
            F.coalesce(F.sum(F.when(F.col("listed").isNull(), F.col("n"))), F.lit(0)).alias("unlisted"),
        )
        .first()
    )
    odd = movies.agg(
        F.count_if(F.col(schema.YEAR).isNull()).alias("year"), F.count_if(F.size(schema.GENRES) == 0).alias("genres")
    ).first()
    assert found is not None
    assert odd is not None
    kept = accounts["ratings"].kept
    density = kept / (users * found["items"])
    return {
        "rows_read": accounts["ratings"].read,
        "ratings": kept,
        "rejected": sum(account.rejected for account in accounts.values()),
        "duplicates": accounts["ratings"].duplicates,
        "users": users,
        "items": found["items"],
        "movies": accounts["movies"].kept,
        "density": density,
        "sparsity": 1 - density,
        "rating_mean": found["sum"] / kept,
        "ratings_of_unlisted_movies": found["unlisted"],
        "movies_without_year": odd["year"],
        "movies_without_genres": odd["genres"],
    }


def _write_ratings(spark: SparkSession, draft: lake.Draft, table: RawTable, scale: Scale) -> tuple[Account, DataFrame]:
    """Write `ratings` in one pass that also counts; the rejected lines come back unread, as most have none."""
    from pyspark.sql import functions as F

    counts = _Counts()
    parsed = parse_ratings(counts.add(read_lines(spark, table), read=F.count(F.lit(1))), table, scale)
    judged = counts.add(parsed, rejected=F.count("reason"))
    ranked = counts.add(rank_duplicates(judged, _partitions(table)), duplicates=F.count_if(F.col("copy") > 1))
    kept = draft.write_table(ranked.where(F.col("copy") == 1).drop("copy"), table.kind).rows
    return _account(spark, table, counts, kept), rejected_ratings(parse_ratings(read_lines(spark, table), table, scale))


def _write_entities(spark: SparkSession, draft: lake.Draft, table: RawTable, _: Scale) -> tuple[Account, DataFrame]:
    """Write `movies` or `users` in the same way."""
    from pyspark.sql import functions as F

    parse = entities.parse_movies if table.kind == "movies" else entities.parse_users
    counts = _Counts()
    lines = counts.add(read_lines(spark, table), read=F.count(F.lit(1)))
    judged = counts.add(parse(lines, table, _partitions(table)), rejected=F.count("reason"))
    kept = draft.write_table(entities.accepted(judged), table.kind).rows
    return _account(spark, table, counts, kept), entities.rejected(
        parse(read_lines(spark, table), table, _partitions(table))
    )


class _Counts:
    """Numbers that a plan counts while it runs for something else."""

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def add(self, df: DataFrame, **counts: Column) -> DataFrame:
        """The same rows, counted in passing."""
        from pyspark.sql import Observation

        observation = Observation()
        self._observations.append(observation)
        return df.observe(observation, *(count.alias(name) for name, count in counts.items()))

    def get(self) -> dict[str, int]:
        """All counts, once the plan has run."""
        return {name: int(value) for observation in self._observations for name, value in observation.get.items()}


def _account(spark: SparkSession, table: RawTable, counts: _Counts, kept: int) -> Account:
    if kept:
        return Account(table.kind, kept=kept, **({"duplicates": 0} | counts.get()))
    # Where no row came through, adaptive execution cuts the plan short and the counts with it.
    read = read_lines(spark, table).count()
    return Account(table.kind, read=read, rejected=read, duplicates=0, kept=0)


def _write_rejected(
    spark: SparkSession, draft: lake.Draft, accounts: Mapping[str, Account], bad: Mapping[str, DataFrame]
) -> dict[str, int]:
    rejected = spark.createDataFrame([], schema.REJECTED_DDL)
    for kind, account in accounts.items():
        if account.rejected:
            rejected = rejected.unionByName(bad[kind])
    written = draft.write_table(rejected.repartition(1), "rejected").rows
    Account("rejected", sum(account.rejected for account in accounts.values()), 0, 0, written).check()
    return (
        {} if not written else count_reasons(spark.read.schema(schema.REJECTED_DDL).parquet(f"{draft.path}/rejected"))
    )


def _partitions(table: RawTable) -> int:
    return max(1, math.ceil(table.bytes / _BYTES_PER_FILE))
