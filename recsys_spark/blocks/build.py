"""Block building on Spark: encoded ratings in, an RDD of blocks out. Driver; no row becomes a Row.

Map tasks cut the ratings of a chunk by block into a few large pieces; one shuffle by slot, with an identity
partitioner, brings a block's pieces together; the reduce side sorts them into it. For rows that are broadcast,
map tasks look up the rows of a chunk's ids in the broadcast index. `blocks.ranged` is for rows that are routed, and of
what is `near` nothing is shuffled.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark.blocks.chunks import Chunk
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block
from recsys_spark.blocks.near import Near
from recsys_spark.blocks.pieces import Index, Piece, chunk_pieces, feature_pieces, graph_pieces, merge_of_plan
from recsys_spark.blocks.plan import Grid, Plan, plan_side
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

MakePieces: TypeAlias = Callable[[Iterable[pa.RecordBatch], Index, int], Iterator[Piece]]
Know: TypeAlias = Callable[[], Index]
"""What tasks are sent of an index: opens its broadcast."""

PIECES_DDL = "slot int, piece binary"
_MAX_RECORD = 512 << 20  # bytes of a block aimed at, well under the 2 GB that a Spark record may hold
MAX_VIEW = 1 << 30
"""Bytes aimed at of routed rows that a block refers to; a task holds them twice, as they come and in order."""
_RATING = 12  # bytes of a rating in a block, at most: column, value, weight
_MIN_ROWS = 1 << 18  # of a feature table that are worth a task
_MOST_NEAR = 32
"""Blocks of a side up to which each may go over all ratings for itself."""
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
        sides.append(plan_side(side, table, featured, n_features[side], blocks_of(ratings, grid[side])))
    return Plan(sides[USERS], sides[ITEMS])


def blocks_of(ratings: EncodedRatings, given: int, other: int = USERS, row: int = 0) -> int:
    """How many blocks a side has; see `plan_blocks`, and `blocks_for` where rows of the ``other`` side are routed."""
    if given:
        return given
    tasks = ratings.session.sparkContext.defaultParallelism
    least = blocks_for(ratings.ratings, tasks)
    if ratings.ratings * row <= least * MAX_VIEW:
        return least
    return blocks_for(ratings.ratings, tasks, ratings.tallies(other).count(), row)


def blocks_for(ratings: float, tasks: int, rows: float = 0, row: int = 0) -> int:
    """Blocks a side of so many ratings, where so many tasks run at a time.

    Parameters
    ----------
    rows, row : how many rows of the other side are routed to them, and bytes of each; a block of n ratings refers to n
        of them at most
    """
    views = ratings * row / MAX_VIEW if rows * row > MAX_VIEW else 0.0
    rounds = max(1, math.ceil(ratings * _RATING / _MAX_RECORD / tasks))  # whole ones, of as many tasks as run at a time
    return max(tasks * rounds, math.ceil(views))


def row_bytes(rank: int) -> int:
    """Bytes of a row: factors and bias, float32."""
    return 4 * (rank + 1)


def block_records(
    ratings: EncodedRatings,
    features: dict[int, DataFrame],
    plan: Broadcast[Plan],
    graphs: Graphs | None = None,
) -> RDD[tuple[int, Block]]:
    """(slot, block) of every block, empty ones included; lazy. The plan's broadcast must outlive it."""
    grid, index, graphs = plan.value.grid, partial(_shared, plan), graphs or {}
    near = near_of(ratings, features, grid)
    if near is None:
        gathered = gather(all_pieces(ratings, features, index, graphs), grid)
    else:
        far = {side: table for side, table in features.items() if side not in near.features}
        pieces = [_table_pieces(table, feature_pieces, index, side) for side, table in far.items()]
        pieces += [_table_pieces(table, graph_pieces, index, side) for side, table in graphs.items()]
        sc = ratings.session.sparkContext
        gathered = gather(sc.union(pieces), grid) if pieces else sc.parallelize((), grid.partitions)
    return merged(gathered, grid, partial(merge_with_plan, plan=plan, near=near))


def near_of(ratings: EncodedRatings, features: dict[int, DataFrame], grid: Grid) -> Near | None:
    """What blocks' tasks are to read themselves; None where that is not to be found by all of them, or not worth it."""
    if ratings.files is None or max(grid.users, grid.items) > _MOST_NEAR:
        return None
    scanned = {side: scan_tasks(table, 1, _MIN_ROWS) for side, table in features.items()}
    return Near(ratings.files, {side: found for side, found in scanned.items() if found})


def all_pieces(
    ratings: EncodedRatings, features: dict[int, DataFrame], index: Know, graphs: Graphs
) -> RDD[tuple[int, bytes]]:
    """(slot, piece) of everything, encoded; lazy."""
    sc = ratings.session.sparkContext
    pieces = [ratings.chunks().mapPartitions(partial(_chunk_pieces, index=index))]
    for side, table in features.items():
        scanned = scan_tasks(table, sc.defaultParallelism, _MIN_ROWS)
        if scanned:
            read = partial(_span_pieces, columns=scanned.columns, index=index, side=side)
            pieces.append(scanned.spread(sc).mapPartitions(read))
        else:
            pieces.append(_table_pieces(table, feature_pieces, index, side))
    pieces += [_table_pieces(table, graph_pieces, index, side) for side, table in graphs.items()]
    return sc.union(pieces) if len(pieces) > 1 else pieces[0]


def gather(pieces: RDD[tuple[int, Any]], grid: Grid) -> RDD[tuple[int, tuple[int, Any]]]:
    """(partition, (slot, piece)) in the partition of the slot's block: one shuffle; lazy."""
    addressed: RDD[Any] = pieces.map(partial(_address, grid=grid))
    return addressed.partitionBy(grid.partitions, int)


def merged(
    gathered: RDD[Any], grid: Grid, merge: Callable[[list[Any], int, int, int], Block]
) -> RDD[tuple[int, Block]]:
    """(slot, block) of every block from what `gather` brought together; lazy.

    Parameters
    ----------
    merge : callable
        Makes the block of what its pieces stand for, its slot, side and number.
    """
    merge_all = partial(_merge, grid=grid, merge=merge)
    return gathered.mapPartitionsWithIndex(merge_all, preservesPartitioning=True).setName("rating blocks")


def _table_pieces(table: DataFrame, make: MakePieces, index: Know, side: int) -> RDD[tuple[int, bytes]]:
    with fast_transfer(table.sparkSession):
        return table.mapInArrow(partial(_table_batches, make=make, index=index, side=side), PIECES_DDL).rdd.map(tuple)


def _shared(plan: Broadcast[Plan]) -> Plan:
    return plan.value


def _ids(table: DataFrame) -> pa.ChunkedArray:
    """The column ``id``."""
    scanned = scan_tasks(table, 1, _MIN_ROWS)
    if scanned:
        with contextlib.suppress(UnreadableError):
            read = [batch.column("id") for batch in scanned.batches()]
            return pa.chunked_array(read, read[0].type if read else pa.int64())
    return table.toArrow()["id"]


def _wide(ids: pa.Array) -> pa.Array:
    return ids.cast(pa.int64()) if pa.types.is_integer(ids.type) else ids


def _chunk_pieces(chunks: Iterable[bytes], index: Know) -> Iterator[tuple[int, bytes]]:
    for data in chunks:
        for piece in chunk_pieces(Chunk.decode(data), index()):
            yield piece.slot, piece.encode()


def _span_pieces(
    tasks: Iterable[list[Span]], columns: list[Column], index: Know, side: int
) -> Iterator[tuple[int, bytes]]:
    for mine in tasks:
        for piece in feature_pieces(read_spans(mine, columns), index(), side):
            yield piece.slot, piece.encode()


def _table_batches(
    batches: Iterator[pa.RecordBatch],
    make: MakePieces,
    index: Know,
    side: int,
) -> Iterator[pa.RecordBatch]:
    for piece in make(batches, index(), side):
        yield pa.RecordBatch.from_arrays(
            [pa.array([piece.slot], pa.int32()), pa.array([piece.encode()], pa.binary())], names=["slot", "piece"]
        )


def _address(piece: tuple[int, Any], grid: Grid) -> tuple[int, tuple[int, Any]]:
    return grid.partition(piece[0]), piece


def _merge(
    partition: int,
    gathered: Iterable[tuple[int, tuple[int, Any]]],
    grid: Grid,
    merge: Callable[[list[Any], int, int, int], Block],
) -> Iterator[tuple[int, Block]]:
    found: dict[int, list[Any]] = {}
    for _, (slot, data) in gathered:
        found.setdefault(slot, []).append(data)
    for slot, side, block in grid.blocks():
        if grid.partition(slot) == partition:
            yield slot, merge(found.pop(slot, []), slot, side, block)


def merge_with_plan(
    pieces: list[Any], slot: int, side: int, block: int, plan: Broadcast[Plan],
    decode: Callable[[int, Any], Piece] = Piece.decode, near: Near | None = None,
) -> Block:  # fmt: skip
    """For `merged`: the block of what ``decode`` makes of what stands for pieces, and of what is near. Executor."""
    found = (decode(slot, data) for data in pieces)
    read = near.pieces(plan.value, slot) if near else ()
    return merge_of_plan(itertools.chain(found, read), plan.value, side, block)
