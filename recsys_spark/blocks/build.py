"""Block building on Spark: encoded ratings in, an RDD of one binary record a block out. Driver; no row becomes a Row.

Map tasks look up the rows of a chunk's ids in the broadcast index and cut its ratings by block into a few large pieces;
one shuffle by slot, with an identity partitioner, brings a block's pieces together; the reduce side sorts them into its
record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark.blocks.chunks import Chunk
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.pieces import Piece, chunk_pieces, feature_pieces, graph_pieces, merge_pieces
from recsys_spark.blocks.plan import Layout, Plan, plan_side
from recsys_spark.blocks.rowgroups import Column, Span, UnreadableError, read_spans
from recsys_spark.blocks.scan import scan_tasks
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.features.columns import refuse_twins

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame

Graphs: TypeAlias = "dict[int, DataFrame]"
"""Side to edges (i, j, s) as `features.graph` makes them: both directions of each, ids of the side's type."""

MakePieces: TypeAlias = Callable[[Iterable[pa.RecordBatch], Plan, int], Iterator[Piece]]

PIECES_DDL = "slot int, piece binary"
_MAX_RECORD = 512 << 20  # bytes of a block aimed at, well under the 2 GB that a Spark record may hold
_MIN_ROWS = 1 << 18  # of a feature table that are worth a task
_NO_COUNTS = pa.table({"id": pa.array([], pa.int64()), "count": pa.array([], pa.int64())})


def plan_blocks(
    ratings: EncodedRatings,
    features: dict[int, DataFrame],
    n_features: tuple[int, int],
    grid: tuple[int, int],
    graphs: Graphs | None = None,
) -> Plan:
    """Index both sides and cut them into blocks. Driver; 8 bytes an id.

    Parameters
    ----------
    ratings : EncodedRatings
    features : dict of side to DataFrame of (id, indices, values)
    n_features : numbers of feature columns of users, items
    grid : blocks of users, items; 0 is one for each core, more where a block would pass half a gigabyte
    graphs : dict of side to DataFrame of (i, j, s), both directions given

    Raises
    ------
    DataError
        As `plan_side`; or feature rows name an id more than once.
    """
    sides = []
    for side in (USERS, ITEMS):
        table = ratings.counts[side] or _NO_COUNTS
        known = []
        if side in features:
            known.append(_ids(features[side].select("id")))
            refuse_twins(known[0], SIDE_NAMES[side])
        if graphs and side in graphs:
            known.append(_ids(graphs[side].select(F.col("i").alias("id")).distinct()))
        found = [_wide(chunk) for ids in known for chunk in ids.chunks]
        featured = pa.chunked_array(found) if found else None
        total = int(table["count"].to_numpy().sum())
        blocks = grid[side] or max(ratings.session.sparkContext.defaultParallelism, -(-total * 12 // _MAX_RECORD))
        sides.append(plan_side(side, table, featured, n_features[side], blocks))
    return Plan(sides[USERS], sides[ITEMS])


def block_records(
    ratings: EncodedRatings,
    features: dict[int, DataFrame],
    plan: Broadcast[Plan],
    graphs: Graphs | None = None,
) -> RDD[tuple[int, bytes]]:
    """(slot, record) of every block, empty ones included; lazy. The plan's broadcast must outlive it."""
    sc = ratings.session.sparkContext
    pieces = [ratings.chunks().mapPartitions(partial(_chunk_pieces, plan=plan))]
    for side, table in features.items():
        scanned = scan_tasks(table, sc.defaultParallelism, _MIN_ROWS)
        if scanned:
            read = partial(_span_pieces, columns=scanned.columns, plan=plan, side=side)
            pieces.append(scanned.spread(sc).mapPartitions(read))
        else:
            pieces.append(_table_pieces(table, feature_pieces, plan, side))
    pieces += [_table_pieces(table, graph_pieces, plan, side) for side, table in (graphs or {}).items()]
    return route(sc.union(pieces) if len(pieces) > 1 else pieces[0], plan)


def route(
    pieces: RDD[tuple[int, Any]],
    plan: Broadcast[Plan],
    decode: Callable[[int, Any], Piece] = Piece.decode,
) -> RDD[tuple[int, bytes]]:
    """(slot, record) of every block from (slot, piece): one shuffle; lazy.

    Parameters
    ----------
    decode : callable
        Makes a piece of a slot and of what stands for it in ``pieces``, in the task that merges the block.
    """
    layout = plan.value.layout
    routed: RDD[Any] = pieces.map(partial(_address, layout=layout)).partitionBy(layout.partitions, int)
    merge = partial(_merge, plan=plan, decode=decode)
    return routed.mapPartitionsWithIndex(merge, preservesPartitioning=True).setName("rating blocks")


def _table_pieces(table: DataFrame, make: MakePieces, plan: Broadcast[Plan], side: int) -> RDD[tuple[int, bytes]]:
    with fast_transfer(table.sparkSession):
        return table.mapInArrow(partial(_table_batches, make=make, plan=plan, side=side), PIECES_DDL).rdd.map(tuple)


def _ids(table: DataFrame) -> pa.ChunkedArray:
    """The column ``id``."""
    scanned = scan_tasks(table, 1, _MIN_ROWS)
    if scanned:
        with contextlib.suppress(UnreadableError):
            read = [batch.column("id") for task in scanned.tasks for batch in read_spans(task, scanned.columns)]
            return pa.chunked_array(read, read[0].type if read else pa.int64())
    return table.toArrow()["id"]


def _wide(ids: pa.Array) -> pa.Array:
    return ids.cast(pa.int64()) if pa.types.is_integer(ids.type) else ids


def _chunk_pieces(chunks: Iterable[bytes], plan: Broadcast[Plan]) -> Iterator[tuple[int, bytes]]:
    for data in chunks:
        for piece in chunk_pieces(Chunk.decode(data), plan.value):
            yield piece.slot, piece.encode()


def _span_pieces(
    tasks: Iterable[list[Span]], columns: list[Column], plan: Broadcast[Plan], side: int
) -> Iterator[tuple[int, bytes]]:
    for mine in tasks:
        for piece in feature_pieces(read_spans(mine, columns), plan.value, side):
            yield piece.slot, piece.encode()


def _table_batches(
    batches: Iterator[pa.RecordBatch],
    make: MakePieces,
    plan: Broadcast[Plan],
    side: int,
) -> Iterator[pa.RecordBatch]:
    for piece in make(batches, plan.value, side):
        yield pa.RecordBatch.from_arrays(
            [pa.array([piece.slot], pa.int32()), pa.array([piece.encode()], pa.binary())], names=["slot", "piece"]
        )


def _address(piece: tuple[int, Any], layout: Layout) -> tuple[int, tuple[int, Any]]:
    return layout.partition(piece[0]), piece


def _merge(
    partition: int,
    routed: Iterable[tuple[int, tuple[int, Any]]],
    plan: Broadcast[Plan],
    decode: Callable[[int, Any], Piece],
) -> Iterator[tuple[int, bytes]]:
    found: dict[int, list[Any]] = {}
    for _, (slot, data) in routed:
        found.setdefault(slot, []).append(data)
    for slot, side, block in plan.value.slots():
        if plan.value.layout.partition(slot) == partition:
            pieces = (decode(slot, data) for data in found.pop(slot, ()))
            merged = merge_pieces(pieces, plan.value, side, block)
            yield slot, (merged.localised() if plan.value.paired else merged).to_bytes()
