"""What the tasks run: functions from Arrow batches to Arrow batches, without Spark. Executor.

A chunk is a range of users (`World.chunks`); its ratings travel as one packed row, 17 bytes a rating::

    chunk | user (int32[n]) | item (int32[n]) | code (uint8[n]) | time (int64[n])        each as bytes

Chunks, buckets and the order of rows within are part of the data, not of Spark's partitioning: every figure measured on
one is the same bits wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_spark.generate.oracle import floor_errors, item_errors, user_errors
from recsys_spark.generate.ratings import Ratings, draw_ratings, held_out
from recsys_spark.generate.tags import draw_tags
from recsys_spark.generate.world import World

PACKED_DDL = "chunk int, user binary, item binary, code binary, time binary"
RATINGS_CSV_DDL = "userId bigint, movieId bigint, rating double, timestamp bigint"
TAGS_CSV_DDL = "userId bigint, movieId bigint, tag string, timestamp bigint"
CHUNK_FACTS_DDL = (
    "chunk int, held_out bigint, floor double, users double, codes array<bigint>, first bigint, last bigint"
)
BUCKET_DDL = "bucket int, user binary, item binary, code binary"
BUCKET_FACTS_DDL = "bucket int, items double, rated bigint, few bigint, top bigint"

_FEW = 2
T = TypeVar("T", bound=np.generic)


def draw_chunks(world: World, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Column `id` (number of a chunk) to packed chunks."""
    bounds = world.chunks
    for batch in batches:
        for chunk in batch.column("id").to_pylist():
            drawn = draw_ratings(world, int(bounds[chunk]), int(bounds[chunk + 1]))
            yield _one_row(
                chunk=pa.array([chunk], pa.int32()),
                user=_packed(drawn.user),
                item=_packed(drawn.item),
                code=_packed(drawn.code),
                time=_packed(drawn.time),
            )


def write_ratings(world: World, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Packed chunks to the rows of ratings.csv, sorted by userId and movieId within a user."""
    for _, drawn in _unpacked(batches):
        order = np.lexsort((world.films.ids[drawn.item], drawn.user))
        yield pa.RecordBatch.from_pydict(
            {
                "userId": world.people.ids[drawn.user[order]],
                "movieId": world.films.ids[drawn.item[order]],
                "rating": drawn.code[order] / 2.0,
                "timestamp": drawn.time[order],
            }
        )


def write_tags(world: World, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Packed chunks to the rows of tags.csv."""
    for _, drawn in _unpacked(batches):
        tags = draw_tags(world, drawn)
        yield pa.RecordBatch.from_pydict(
            {
                "userId": world.people.ids[tags.user],
                "movieId": world.films.ids[tags.item],
                "tag": pa.array(tags.tag, pa.string()),
                "timestamp": tags.time,
            }
        )


def measure_chunks(world: World, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Packed chunks to facts: squared errors of floor and user oracle, ratings by code 0..10, first and last time."""
    for chunk, drawn in _unpacked(batches):
        yield _one_row(
            chunk=pa.array([chunk], pa.int32()),
            held_out=pa.array([int(held_out(world, drawn.user, drawn.item).sum())]),
            floor=pa.array([floor_errors(world, drawn.user, drawn.item, drawn.code)]),
            users=pa.array([user_errors(world, drawn.user, drawn.item, drawn.code)]),
            codes=pa.array([np.bincount(drawn.code, minlength=11).tolist()], pa.list_(pa.int64())),
            first=pa.array([int(drawn.time.min())]),
            last=pa.array([int(drawn.time.max())]),
        )


def split_by_film(buckets: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Packed chunks to packed pieces by bucket (film modulo `buckets`), to bring a film's ratings together."""
    for _, drawn in _unpacked(batches):
        bucket = drawn.item % buckets
        order = np.argsort(bucket, kind="stable")
        cuts = np.searchsorted(bucket[order], np.arange(buckets + 1))
        for b in range(buckets):
            rows = order[cuts[b] : cuts[b + 1]]
            if len(rows):
                yield _one_row(
                    bucket=pa.array([b], pa.int32()),
                    user=_packed(drawn.user[rows]),
                    item=_packed(drawn.item[rows]),
                    code=_packed(drawn.code[rows]),
                )


def measure_bucket(world: World, pieces: pa.Table) -> pa.Table:
    """All pieces of a bucket to facts: squared errors of the item oracle; films rated, rated 1-2 times, top count."""
    user = _joined(pieces, "user", np.int32)
    item = _joined(pieces, "item", np.int32)
    code = _joined(pieces, "code", np.uint8)
    order = np.lexsort((user, item))  # pieces arrive in any order
    counts = np.bincount(item)
    row = _one_row(
        bucket=pa.array([pieces.column("bucket")[0].as_py()], pa.int32()),
        items=pa.array([item_errors(world, user[order], item[order], code[order])]),
        rated=pa.array([int((counts > 0).sum())]),
        few=pa.array([int(((counts > 0) & (counts <= _FEW)).sum())]),
        top=pa.array([int(counts.max())]),
    )
    return pa.Table.from_batches([row])


def _packed(values: NDArray[np.generic]) -> pa.Array:
    return pa.array([values.tobytes()], pa.binary())


def _one_row(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _unpacked(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, Ratings]]:
    for batch in batches:
        for row in range(batch.num_rows):
            yield (
                batch.column("chunk")[row].as_py(),
                Ratings(
                    user=np.frombuffer(batch.column("user")[row].as_buffer(), np.int32),
                    item=np.frombuffer(batch.column("item")[row].as_buffer(), np.int32),
                    code=np.frombuffer(batch.column("code")[row].as_buffer(), np.uint8),
                    time=np.frombuffer(batch.column("time")[row].as_buffer(), np.int64),
                ),
            )


def _joined(pieces: pa.Table, name: str, dtype: type[T]) -> NDArray[T]:
    return np.concatenate([np.frombuffer(piece.as_buffer(), dtype) for piece in pieces.column(name)])
