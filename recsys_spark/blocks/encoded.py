"""Ratings read once: coded chunks that Spark keeps on executors' disks until blocks are built; driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.blocks.chunks import CHUNK_DDL, CHUNK_ROWS, Tally, rating_chunks
from recsys_spark.blocks.layout import SIDE_NAMES
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.blocks.wire import unpack
from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import Column, DataFrame

TALLY_LIMIT = 256 << 20  # bytes of tasks' tallies that the driver adds up itself
_MIN_TASK = CHUNK_ROWS // 8  # ratings that are worth a task of their own


class EncodedRatings:
    """Chunks of ratings, and how many training ratings each id has.

    A context manager: the chunks are released at its end. Records of blocks that were built from them can be computed
    anew after that too, then from the DataFrame.

    Parameters
    ----------
    ratings : DataFrame of (user, item, rating[, weight][, held_out])

    Raises
    ------
    DataError
        Ids are neither integers nor strings; or a rating is null or not finite as float32, an id null, or a weight
        null, not finite or negative: with the first offenders.
    """

    def __init__(self, ratings: DataFrame) -> None:
        self.session = ratings.sparkSession
        self._ratings = _typed(ratings)
        with fast_transfer(self.session):
            self._chunks = self._ratings.mapInArrow(rating_chunks, CHUNK_DDL).persist(StorageLevel.DISK_ONLY)
            try:
                self.counts: dict[int, pa.Table | None] = self._count()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> EncodedRatings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the chunks."""
        self._chunks.unpersist()

    def chunks(self) -> RDD[bytes]:
        """The chunks, encoded; lazy."""
        rows = self._chunks.where("chunk is not null").select("chunk").rdd
        tasks = max(1, self.ratings // _MIN_TASK)
        if tasks < rows.getNumPartitions():
            rows = rows.coalesce(tasks)
        return rows.map(_only)

    @property
    def ratings(self) -> int:
        """How many training ratings there are."""
        table = self.counts[0]
        return int(table["count"].to_numpy().sum()) if table is not None else 0

    def _count(self) -> dict[int, pa.Table | None]:
        tallies = self._chunks.where("chunk is null")
        sizes = [F.coalesce(F.sum(F.length(name)), F.lit(0)).alias(name) for name in SIDE_NAMES]
        seen = tallies.agg(F.max("bad").alias("bad"), *sizes).first()
        assert seen is not None
        if seen["bad"]:
            raise _offenders(self._ratings)
        if seen["user"] + seen["item"] <= TALLY_LIMIT:
            table = tallies.select(*SIDE_NAMES).toArrow()
            return {side: _added(table[name]) for side, name in enumerate(SIDE_NAMES)}
        return {side: self._count_on_executors(tallies, name) for side, name in enumerate(SIDE_NAMES)}

    def _count_on_executors(self, tallies: DataFrame, name: str) -> pa.Table:
        id_type = self._ratings.schema[name].dataType
        kind = "string" if isinstance(id_type, T.StringType) else "long"
        rows = tallies.select(name).mapInArrow(_tally_rows, f"id {kind}, count long")
        return rows.groupBy("id").agg(F.sum("count").alias("count")).toArrow()


def _only(row: tuple[bytes]) -> bytes:
    return row[0]


def _tally_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for data in batch.column(0).drop_null():
            yield pa.RecordBatch.from_pydict(unpack(data.as_buffer()))


def _added(tallies: pa.ChunkedArray) -> pa.Table | None:
    tally = Tally()
    for data in tallies.drop_null():
        tally.extend(data.as_buffer())
    return tally.table()


def _typed(ratings: DataFrame) -> DataFrame:
    for name in SIDE_NAMES:
        kind = ratings.schema[name].dataType
        if not isinstance(kind, T.ByteType | T.ShortType | T.IntegerType | T.LongType | T.StringType):
            found = kind.simpleString()
            raise DataError(f"{name} ids must be integers or strings, found {found}; cast the column first")
    columns = [
        F.col(name).cast("float").alias(name) if name in ("rating", "weight") else F.col(name)
        for name in (*SIDE_NAMES, "rating", "weight", "held_out")
        if name in ratings.columns
    ]
    return ratings.select(*columns)


def _is_bad(ratings: DataFrame) -> Column:
    def unusable(name: str) -> Column:
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
