"""Block building where rows are routed: no process holds a side's ids, only the cuts between blocks. Driver.

tallies ── sample ──▶ cuts: a few ids a side                                            on the driver
ratings ── pieces, whose numbers are places in ids of their own ── shuffle ──▶ a block's pieces, in its partition
pieces ── names ──▶ the block's own ids, kept · how many ──▶ row numbers at which blocks start, on the driver
└─ asks ── shuffle ──▶ blocks that have the ids ── answers ── shuffle ──▶ back
pieces, own ids, answers, all partitioned alike ──▶ records, of the same row numbers as where the driver knows all ids
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark.blocks.build import Graphs, all_pieces, blocks_of, gather, merged, row_bytes
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block, other
from recsys_spark.blocks.named import Answer, Ask, Known, Own, answers, merge_named, names
from recsys_spark.blocks.partition import UNRATED_COST, balanced_bounds, own_cost
from recsys_spark.blocks.pieces import Piece
from recsys_spark.blocks.plan import Cuts, Layout, SideCuts, check_rated
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.blocks.wire import pack
from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext
    from pyspark.sql import DataFrame

SAMPLE = 1 << 14
"""Ids a side, about, that cuts are made of at least."""
_SAMPLE_A_BLOCK = 1 << 10  # evens blocks out to some per cent
_SHOWN = 5
_RANDOM = 1 << 24  # steps of the random number that decides whether an id is in the sample


class Ranged(NamedTuple):
    """Blocks, and which ids and rows they hold."""

    layout: Layout
    records: RDD[tuple[int, Block]]
    ids: RDD[tuple[int, bytes]]  # (slot, `pack_ids` of some of the block's rows)


def pack_ids(rows: np.ndarray, ids: pa.Array) -> bytes:
    """Row numbers and their ids."""
    return pack({"row": rows.astype(np.int32), "id": ids})


@contextmanager
def ranged_blocks(
    ratings: EncodedRatings,
    features: dict[int, DataFrame],
    n_features: tuple[int, int],
    grid: tuple[int, int],
    graphs: Graphs | None = None,
    rank: int = 0,
    shared: int | None = None,
) -> Iterator[Ranged]:
    """Blocks for rows that are routed; parameters and errors as `build.plan_blocks`.

    Parameters
    ----------
    rank : of the rows; where the grid is not given there are as many blocks as their memory asks for
    shared : a side whose rows are not routed, and ask for none
    """
    sides = []
    for side in (USERS, ITEMS):
        check_rated(side, ratings.ratings)
        rows = features.get(side)
        if rows is not None:
            _check_features(rows, SIDE_NAMES[side])
        blocks = blocks_of(ratings, grid[side], other(side), 0 if shared == other(side) else row_bytes(rank))
        sides.append(cut_side(ratings, side, rows, n_features[side], blocks))
    cuts = Cuts(sides[USERS], sides[ITEMS])
    with number_rows(all_pieces(ratings, features, partial(_given, cuts), graphs or {}), cuts) as found:
        yield found


def cut_side(ratings: EncodedRatings, side: int, features: DataFrame | None, n_features: int, blocks: int) -> SideCuts:
    """Cuts that even out what blocks cost, as far as a sample of ids can tell.

    An id is in the sample with a probability of c/τ, at most 1, and counts for max(c, τ): c is what its row costs (as
    `partition.row_costs` has it), τ a constant share of all costs. A hash of the id decides, so that the cuts do
    not depend on how the ratings are partitioned. Where there are few ids, all of them are in it.
    """
    wanted = max(SAMPLE, _SAMPLE_A_BLOCK * blocks)
    with fast_transfer(ratings.session):
        tallies = ratings.tallies(side)
        if features is not None:  # those of a graph cost what a row does, and hardly shift a cut
            kind = tallies.schema["id"].dataType
            tallies = tallies.unionByName(
                features.select(F.col("id").cast(kind).alias("id"), F.lit(0).cast("long").alias("count"))
            )
            tallies = tallies.groupBy("id").agg(F.sum("count").alias("count"))
        rated = F.when(F.col("count") > 0, F.col("count") + own_cost(n_features))
        costs = tallies.select("id", rated.otherwise(UNRATED_COST).alias("cost"))
        least = costs.agg((F.sum("cost") / wanted).alias("least"))
        drawn = F.pmod(F.xxhash64("id"), F.lit(_RANDOM)) / _RANDOM < F.col("cost") / F.col("least")
        found = costs.crossJoin(F.broadcast(least)).where(drawn)
        sample = found.select("id", F.greatest("cost", "least").alias("cost")).toArrow().sort_by("id")
    ids = sample["id"].combine_chunks()
    ids = ids.cast(pa.int64() if pa.types.is_integer(ids.type) else pa.string())
    bounds = balanced_bounds(sample["cost"].to_numpy(), blocks)[1:-1]
    return SideCuts(ids.take(pa.array(bounds[bounds < len(ids)])), blocks, n_features)


@contextmanager
def number_rows(pieces: RDD[tuple[int, bytes]], cuts: Cuts) -> Iterator[Ranged]:
    """Blocks of pieces whose numbers are places in ids of their own.

    One job finds how many rows each block has. What blocks know of ids is kept on executors until the context ends.
    """
    from pyspark import StorageLevel

    sc, grid = pieces.context, cuts.grid
    gathered = gather(pieces, grid)
    kept = gathered.mapPartitions(partial(_names, cuts=cuts), preservesPartitioning=True)
    kept.setName("ids of blocks").persist(StorageLevel.DISK_ONLY)
    try:
        rows = dict(kept.mapPartitions(_rows).collect())
        sizes = np.zeros(grid.slots, np.int64)
        sizes[list(rows)] = list(rows.values())
        bounds = [np.r_[0, np.cumsum(part)] for part in (sizes[: grid.users], sizes[grid.users :])]
        layout = Layout(cuts, (bounds[USERS], bounds[ITEMS]))
        asked: RDD[Any] = kept.mapPartitions(partial(_asks, layout=layout)).partitionBy(grid.partitions, int)
        answered: RDD[Any] = (
            beside(sc, [kept, asked], grid.partitions)
            .mapPartitions(partial(_answers, layout=layout))
            .partitionBy(grid.partitions, int)
        )
        known = beside(sc, [gathered, kept, answered], grid.partitions).mapPartitions(_by_slot, True)
        records = merged(known, grid, partial(_merge_named, layout=layout))
        yield Ranged(layout, records, kept.mapPartitions(partial(_ids, layout=layout)))
    finally:
        kept.unpersist()


def beside(sc: SparkContext, rdds: Sequence[RDD[Any]], partitions: int) -> RDD[Any]:
    """One RDD of elements that lie in the same partitions of RDDs of one partitioner; nothing moves.

    Raises DataError where they have not all that many partitions, each its own elements.
    """
    from pyspark import RDD as SparkRDD

    # All are streams of pickled lists, whatever their lengths; Spark would else read and write each anew.
    alike: list[RDD[Any]] = [SparkRDD(r._jrdd, sc, sc.serializer) for r in rdds]
    joined = sc.union(alike)
    if joined.getNumPartitions() != partitions:
        raise DataError("blocks and rows are not partitioned alike: were the blocks built for another exchange?")
    return joined


def _given(cuts: Cuts) -> Cuts:
    return cuts


def _check_features(rows: DataFrame, name: str) -> None:
    """Raise DataError for ids that are null, or that feature rows have more than once. One job."""
    twice = rows.groupBy("id").count().where((F.col("count") > 1) | F.col("id").isNull())
    found = twice.orderBy("id").limit(_SHOWN).collect()  # null comes first
    if found and found[0]["id"] is None:
        raise DataError(f"{found[0]['count']} rows of the {name} features have a null id; drop or mend them")
    if found:
        raise DataError(f"feature rows name {name} {', '.join(str(r['id']) for r in found)} more than once")


def _names(gathered: Iterable[tuple[int, tuple[int, bytes]]], cuts: Cuts) -> Iterator[Own | Ask]:
    pieces: dict[int, list[Piece]] = {}
    for _, (slot, data) in gathered:
        pieces.setdefault(slot, []).append(Piece.decode(slot, data))
    for slot, found in pieces.items():
        yield from names(slot, cuts.grid.side(slot), found, cuts)


def _rows(kept: Iterable[Own | Ask]) -> Iterator[tuple[int, int]]:
    return ((own.slot, own.rows) for own in kept if isinstance(own, Own))


def _ids(kept: Iterable[Own | Ask], layout: Layout) -> Iterator[tuple[int, bytes]]:
    for own in kept:
        if isinstance(own, Own):
            grid = layout.grid
            start = int(layout.bounds[grid.side(own.slot)][grid.block(own.slot)])
            yield own.slot, pack_ids(np.arange(start, start + own.rows), own.ids)


def _asks(kept: Iterable[Own | Ask], layout: Layout) -> Iterator[tuple[int, Ask]]:
    return ((layout.grid.partition(ask.source), ask) for ask in kept if isinstance(ask, Ask))


def _answers(elements: Iterable[Any], layout: Layout) -> Iterator[tuple[int, Answer]]:
    """From what blocks keep, and what they are asked, which come as (partition, Ask)."""
    found = list(elements)
    owned = (own for own in found if isinstance(own, Own))
    asked = (pair[1] for pair in found if not isinstance(pair, Own | Ask))
    return ((layout.grid.partition(a.slot), a) for a in answers(owned, asked, layout))


def _by_slot(elements: Iterable[Any]) -> Iterator[tuple[int, tuple[int, Any]]]:
    """Pieces, what blocks keep, and answers, as `build.merged` wants them."""
    for element in elements:
        if isinstance(element, Own | Ask):
            yield -1, (element.slot, element)
        elif isinstance(element[1], Answer):
            yield -1, (element[1].slot, element[1])
        else:
            yield element


def _merge_named(found: list[Any], slot: int, side: int, block: int, layout: Layout) -> Block:
    own = next((f for f in found if isinstance(f, Own)), None)
    start = int(layout.bounds[side][block])
    if own is None:  # no id lies between its cuts, but for held-out ratings
        return _empty(side, start, layout)
    asked, answered = [f for f in found if isinstance(f, Ask)], [f for f in found if isinstance(f, Answer)]
    pieces = (Piece.decode(slot, f) for f in found if not isinstance(f, Own | Ask | Answer))
    return merge_named(pieces, Known.of(own, asked, answered), side, start)


def _empty(side: int, start: int, layout: Layout) -> Block:
    ids = pa.array([], layout.cuts.side(side).starts.type)
    return merge_named((), Known(ids, {}), side, start)
