"""Ratings read once: coded chunks that stay on executors' disks until blocks are built; driver."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.blocks.chunk_files import ChunkFile, write_chunks
from recsys_spark.blocks.chunks import CHUNK_DDL, CHUNK_ROWS, Tally, rating_chunks
from recsys_spark.blocks.layout import SIDE_NAMES
from recsys_spark.blocks.residency import clear_stores
from recsys_spark.blocks.rowgroups import Column, Span, UnreadableError, read_spans
from recsys_spark.blocks.scan import scan_tasks
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.blocks.wire import unpack
from recsys_spark.errors import DataError
from recsys_spark.session import is_local

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import Column as SqlColumn
    from pyspark.sql import DataFrame

Coded: TypeAlias = "tuple[bool | None, bytes | None, bytes | None, bytes | ChunkFile | None]"
"""As `chunks.CHUNK_DDL`, or a file of chunks in place of one; bad is null where a file cannot be read here."""

TALLY_LIMIT = 256 << 20  # bytes of tasks' tallies that the driver adds up itself
_MIN_TASK = CHUNK_ROWS // 8  # ratings that are worth a task of their own
_MIN_FILES = CHUNK_ROWS  # ratings whose chunks are worth files: on a cluster, removing them takes a job


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
        if self._store is not None and is_local(self.session.sparkContext.master):
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
        return rows.mapPartitions(_only_chunks)

    @cached_property
    def counts(self) -> dict[int, pa.Table | None]:
        """(id, count) of training ratings of each side, on the driver; None without any. At hand if `tallied`."""
        return {side: self.tallies(side).toArrow() for side in range(len(SIDE_NAMES))}

    def tallies(self, side: int) -> DataFrame:
        """(id, count) of a side's training ratings, each id once, on executors; lazy."""
        kind = "string" if isinstance(self._ratings.schema[SIDE_NAMES[side]].dataType, T.StringType) else "long"
        packed = self.session.createDataFrame(self._coded.mapPartitions(partial(_side, side=side)), "tally binary")
        rows = packed.mapInArrow(_tally_rows, f"id {kind}, count long")
        return rows.groupBy("id").agg(F.sum("count").alias("count"))

    def _scanned(self) -> RDD[Coded] | None:
        """Chunks straight from Parquet files, where the ratings are nothing else."""
        sc = self.session.sparkContext
        scanned = scan_tasks(self._ratings, 2 * sc.defaultParallelism, _MIN_TASK)
        if scanned is None:
            return None
        if scanned.rows >= _MIN_FILES:
            self._store = f"chunks-{uuid.uuid4().hex}"
        return scanned.spread(sc).mapPartitions(partial(_code_spans, columns=scanned.columns, store=self._store))

    def _counted(self, coded: RDD[Coded]) -> list[_Tallies] | None:
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

    def _heard(self) -> list[_Tallies] | None:
        limit = self._limit // self._coded.getNumPartitions()
        found = self._coded.mapPartitions(partial(_tallies, limit=limit)).collect()
        if any(tallies.bad is None for tallies in found):
            return None
        if any(tallies.bad for tallies in found):
            raise _offenders(self._ratings)
        return found


def _code_spans(tasks: Iterable[list[Span]], columns: list[Column], store: str | None) -> Iterator[Coded]:
    """Chunks of each task, or the file in ``store`` that they are left in, and its tallies."""
    for mine in tasks:
        rows: Iterable[pa.RecordBatch] = rating_chunks(read_spans(mine, columns))
        try:
            if store is not None:
                last: list[pa.RecordBatch] = []
                left = write_chunks(_apart(rows, last), store, mine, columns)
                if left is not None:
                    yield None, None, None, left
                rows = last
            for row in rows:
                yield tuple(column[0].as_py() for column in row.columns)
        except UnreadableError:
            yield None, None, None, None


def _apart(rows: Iterable[pa.RecordBatch], last: list[pa.RecordBatch]) -> Iterator[pa.Buffer]:
    """The chunks of `rating_chunks`; its last row goes to ``last``."""
    for row in rows:
        chunk = row.column("chunk")
        if chunk.null_count:
            last.append(row)
        else:
            yield chunk[0].as_buffer()


def chunks_in(file: ChunkFile) -> Iterable[Any]:
    """Its chunks, encoded, coded again where it is not here as it was left. Executor.

    Raises DataError where the ratings are no longer those that it was made of.
    """
    found = file.read()
    return _only_chunks(_code_spans([file.spans], file.columns, None)) if found is None else found


def _only_chunks(coded: Iterable[Coded]) -> Iterator[Any]:
    for bad, *_, chunk in coded:
        if isinstance(chunk, ChunkFile):
            yield from chunks_in(chunk)
        elif chunk is not None:
            yield chunk
        elif bad or bad is None:  # lost chunks were coded anew
            raise DataError(
                "the ratings are no longer those that were read at first: their files changed, or this executor cannot "
                "read them; fit again, to files that stay as they are"
            )


class _Tallies(NamedTuple):
    """What the driver hears of a task."""

    bad: bool | None
    ratings: int
    whole: bool  # whether the tallies came along
    of: tuple[bytes | None, bytes | None]  # users and items
    file: ChunkFile | None = None  # that its chunks lie in


def _tallies(coded: Iterable[Coded], limit: int) -> Iterator[_Tallies]:
    """A task's tallies, which come along up to ``limit`` bytes."""
    file = None
    for bad, user, item, chunk in coded:
        if isinstance(chunk, ChunkFile):
            file = chunk
        elif chunk is None:
            whole = len(user or b"") + len(item or b"") <= limit
            rated = int(unpack(user)["count"].to_numpy().sum()) if user else 0
            yield _Tallies(bad, rated, whole, (user, item) if whole else (None, None), file)
            file = None


def _side(coded: Iterable[Coded], side: int) -> Iterator[tuple[bytearray]]:
    tallies = (cast(bytes | None, row[1 + side]) for row in coded)
    return ((bytearray(tally),) for tally in tallies if tally is not None)


def _tally_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for data in batch.column(0):
            yield pa.RecordBatch.from_pydict(unpack(data.as_buffer()))


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
