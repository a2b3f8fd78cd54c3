"""Ratings read once: coded chunks that stay on executors' disks until blocks are built; driver."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.blocks.chunk_files import ChunkFile
from recsys_spark.blocks.chunks import CHUNK_DDL, CHUNK_ROWS, Tally, rating_chunks
from recsys_spark.blocks.coded import (
    Coded,
    Tallies,
    code_spans,
    only_chunks,
    side_tallies,
    tallies_of,
    tally_rows,
)
from recsys_spark.blocks.layout import SIDE_NAMES
from recsys_spark.blocks.residency import clear_stores
from recsys_spark.blocks.scan import scan_tasks
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.errors import DataError
from recsys_spark.session import is_local

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import Column as SqlColumn
    from pyspark.sql import DataFrame

TALLY_LIMIT = 256 << 20  # bytes of tasks' tallies that the driver adds up itself
_MIN_TASK = CHUNK_ROWS // 8  # ratings that are worth a task of their own
_MIN_FILES = CHUNK_ROWS  # ratings whose chunks are worth files on a cluster: removing them takes a job there


class EncodedRatings:
    """Chunks of ratings, and how many training ratings each id has.

    A context manager: the chunks are released at its end. Records of blocks that were built from them can be computed
    anew after that too, then from the DataFrame.

    Parameters
    ----------
    ratings : DataFrame of (user, item, rating[, weight][, held_out])
    limit : int, optional
        Bytes of tasks' tallies up to which they come to the driver, which then knows all `counts`.

    Raises
    ------
    DataError
        Ids are neither integers nor strings; or a rating is null or not finite as float32, an id null, or a weight
        null, not finite or negative: with the first offenders.
    """

    def __init__(self, ratings: DataFrame, limit: int | None = None) -> None:
        self.session = ratings.sparkSession
        self._local = is_local(self.session.sparkContext.master)
        self._ratings = _typed(ratings)
        self._limit = TALLY_LIMIT if limit is None else limit
        self._store: str | None = None
        """Of the files of the executors' own that chunks lie in, where Spark keeps but their names."""
        found, scanned = None, self._scanned()
        if scanned is not None:
            found = self._counted(scanned)
        if found is None:
            self._store = None
            with fast_transfer(self.session):
                coded = self._ratings.mapInArrow(rating_chunks, CHUNK_DDL).rdd
            found = self._counted(coded)
            assert found is not None  # Spark has read everything
        self.ratings = sum(tallies.ratings for tallies in found)
        """How many training ratings there are."""
        self.tallied = all(tallies.whole for tallies in found)
        """Whether tallies of all ids came to the driver."""
        self.files: list[ChunkFile] | None = None
        """Of all chunks, where every task finds them."""
        if self._store is not None and self._local:
            self.files = [tallies.file for tallies in found if tallies.file is not None]
        if self.tallied:
            self.counts = {side: _added(tallies.of[side] for tallies in found) for side in range(len(SIDE_NAMES))}

    def __enter__(self) -> EncodedRatings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the chunks."""
        try:
            self._clear(self._coded)
        finally:
            self._coded.unpersist()

    def _clear(self, over: RDD[Any]) -> None:
        """Remove the files of chunks, where ``over`` is kept or runs."""
        if self._store is not None:
            clear_stores(over, self._store)

    def chunks(self) -> RDD[bytes]:
        """The chunks, encoded, or buffers of them; lazy."""
        tasks = max(1, self.ratings // _MIN_TASK)
        rows = self._coded.coalesce(tasks) if tasks < self._coded.getNumPartitions() else self._coded
        return rows.mapPartitions(only_chunks)

    @cached_property
    def counts(self) -> dict[int, pa.Table | None]:
        """(id, count) of training ratings of each side, on the driver; None without any. At hand if `tallied`."""
        return {side: self.tallies(side).toArrow() for side in range(len(SIDE_NAMES))}

    def tallies(self, side: int) -> DataFrame:
        """(id, count) of a side's training ratings, each id once, on executors; lazy."""
        kind = "string" if isinstance(self._ratings.schema[SIDE_NAMES[side]].dataType, T.StringType) else "long"
        tallies = self._coded.mapPartitions(partial(side_tallies, side=side))
        packed = self.session.createDataFrame(tallies, "tally binary")
        rows = packed.mapInArrow(tally_rows, f"id {kind}, count long")
        return rows.groupBy("id").agg(F.sum("count").alias("count"))

    def _scanned(self) -> RDD[Coded] | None:
        """Chunks straight from Parquet files, where the ratings are nothing else."""
        sc = self.session.sparkContext
        scanned = scan_tasks(self._ratings, 2 * sc.defaultParallelism, _MIN_TASK)
        if scanned is None:
            return None
        if self._local or scanned.rows >= _MIN_FILES:
            self._store = f"chunks-{uuid.uuid4().hex}"
        return scanned.spread(sc).mapPartitions(partial(code_spans, columns=scanned.columns, store=self._store))

    def _counted(self, coded: RDD[Coded]) -> list[Tallies] | None:
        """Keep chunks; what the driver hears of tasks, or None where files are not to be read this way."""
        self._coded = coded.setName("coded ratings").persist(StorageLevel.DISK_ONLY)
        try:
            found = self._heard()
        except DataError:
            self.close()
            raise
        except BaseException:
            self._coded.unpersist()
            with contextlib.suppress(Exception):  # not where the chunks are: they would be coded again
                self._clear(self.session.sparkContext.parallelize([]))
            raise
        if found is None:
            self.close()
        return found

    def _heard(self) -> list[Tallies] | None:
        limit = self._limit // self._coded.getNumPartitions()
        found = self._coded.mapPartitions(partial(tallies_of, limit=limit)).collect()
        if any(tallies.bad is None for tallies in found):
            return None
        if any(tallies.bad for tallies in found):
            raise _offenders(self._ratings)
        return found


def _added(tallies: Iterable[bytes | None]) -> pa.Table | None:
    tally = Tally()
    for data in tallies:
        if data is not None:
            tally.extend(data)
    return tally.table()


def _typed(ratings: DataFrame) -> DataFrame:
    for name in SIDE_NAMES:
        kind = ratings.schema[name].dataType
        if not isinstance(kind, T.ByteType | T.ShortType | T.IntegerType | T.LongType | T.StringType):
            found = kind.simpleString()
            raise DataError(f"{name} ids must be integers or strings, found {found}; cast the column first")
    columns = [
        F.col(name).cast(T.FloatType()).alias(name) if name in ("rating", "weight") else F.col(name)
        for name in (*SIDE_NAMES, "rating", "weight", "held_out")
        if name in ratings.columns
    ]
    return ratings.select(*columns)


def _is_bad(ratings: DataFrame) -> SqlColumn:
    def unusable(name: str) -> SqlColumn:
        c = F.col(name)
        return c.isNull() | F.isnan(c) | (F.abs(c) == float("inf"))

    bad = F.col("user").isNull() | F.col("item").isNull() | unusable("rating")
    if "held_out" in ratings.columns:
        bad = bad | F.col("held_out").isNull()
    return bad | unusable("weight") | (F.col("weight") < 0) if "weight" in ratings.columns else bad


def _offenders(ratings: DataFrame) -> DataError:
    first = [r.asDict() for r in ratings.where(_is_bad(ratings)).limit(5).collect()]
    return DataError(
        "ratings hold rows with a null id, a null or non-finite rating, or a null, non-finite or negative weight; "
        f"drop or mend them. The first: {first}"
    )
