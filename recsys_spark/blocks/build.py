"""Block building on Spark: DataFrames in, an RDD of one binary record a block out. Driver; no row ever becomes a Row.

Map tasks look rows up in the broadcast index and cut them by block into a few large pieces; one shuffle by slot, with
an identity partitioner, brings a block's pieces together; the reduce side sorts them into its record.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.pieces import Piece, feature_pieces, merge_pieces, rating_pieces
from recsys_spark.blocks.plan import Plan, plan_side
from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import Column, DataFrame

PIECES_DDL = "slot int, piece binary"
_MAX_RECORD = 512 << 20  # bytes of a block aimed at, well under the 2 GB that a Spark record may hold


def plan_blocks(
    ratings: DataFrame, features: dict[int, DataFrame], n_features: tuple[int, int], grid: tuple[int, int]
) -> Plan:
    """Index both sides and cut them into blocks. Driver; one aggregation a side, ids collected (8 bytes an id).

    Parameters
    ----------
    ratings : DataFrame of (user, item, rating[, weight][, held_out])
    features : dict of side to DataFrame of (id, indices, values)
    n_features : numbers of feature columns of users, items
    grid : blocks of users, items; 0 is one for each core, more where a block would pass half a gigabyte

    Raises
    ------
    DataError
        As `plan_side`; also where a rating is null or not finite, or a weight negative: with the first offenders.
    """
    spark = ratings.sparkSession
    training = ratings.where(~F.col("held_out")) if "held_out" in ratings.columns else ratings
    sides = []
    for side in (USERS, ITEMS):
        name = SIDE_NAMES[side]
        counted = training.groupBy(F.col(name).alias("id")).agg(F.count("*").alias("count"), _bad(ratings).alias("bad"))
        table = counted.toArrow()
        if any(table["bad"].to_pylist()) or table["id"].null_count:
            raise _offenders(ratings)
        featured = features[side].select("id").toArrow()["id"] if side in features else None
        total = pa.compute.sum(table["count"]).as_py() or 0
        blocks = grid[side] or max(spark.sparkContext.defaultParallelism, -(-total * 12 // _MAX_RECORD))
        sides.append(plan_side(side, table, featured, n_features[side], blocks))
    return Plan(*sides)


def _is_bad(ratings: DataFrame) -> Column:
    def unusable(name: str) -> Column:
        c = F.col(name)
        return c.isNull() | F.isnan(c) | (F.abs(c) == float("inf"))

    bad = F.col("user").isNull() | F.col("item").isNull() | unusable("rating")
    return bad | unusable("weight") | (F.col("weight") < 0) if "weight" in ratings.columns else bad


def _bad(ratings: DataFrame) -> Column:
    return F.max(_is_bad(ratings))


def _offenders(ratings: DataFrame) -> DataError:
    first = [r.asDict() for r in ratings.where(_is_bad(ratings)).limit(5).collect()]
    return DataError(
        "ratings hold rows with a null id, a null or non-finite rating, or a null, non-finite or negative weight; "
        f"drop or mend them. The first: {first}"
    )


def block_records(ratings: DataFrame, features: dict[int, DataFrame], plan: Broadcast[Plan]) -> RDD[tuple[int, bytes]]:
    """(slot, record) of every block, empty ones included; lazy. The plan's broadcast must outlive it."""
    usable = ratings.where(F.col("weight") > 0) if "weight" in ratings.columns else ratings
    pieces = usable.mapInArrow(partial(_rating_batches, plan=plan), PIECES_DDL)
    for side, table in features.items():
        pieces = pieces.unionAll(table.mapInArrow(partial(_feature_batches, plan=plan, side=side), PIECES_DDL))
    return route(pieces, plan)


def route(pieces: DataFrame, plan: Broadcast[Plan]) -> RDD[tuple[int, bytes]]:
    """(slot, record) of every block from encoded pieces (slot, piece): one shuffle of a few large binaries; lazy."""
    n_slots = plan.value.n_slots
    seeds = pieces.sparkSession.sparkContext.parallelize([(slot, b"") for slot in range(n_slots)], 1)
    routed: RDD[tuple[int, bytes]] = pieces.rdd.map(tuple).union(seeds).partitionBy(n_slots, int)
    return routed.mapPartitions(partial(_merge, plan=plan), preservesPartitioning=True).setName("rating blocks")


def _rating_batches(batches: Iterator[pa.RecordBatch], plan: Broadcast[Plan]) -> Iterator[pa.RecordBatch]:
    return (p.batch() for p in rating_pieces(batches, plan.value))


def _feature_batches(batches: Iterator[pa.RecordBatch], plan: Broadcast[Plan], side: int) -> Iterator[pa.RecordBatch]:
    return (p.batch() for p in feature_pieces(batches, plan.value, side))


def _merge(routed: Iterator[tuple[int, bytes]], plan: Broadcast[Plan]) -> Iterator[tuple[int, bytes]]:
    places = {slot: (side, block) for slot, side, block in plan.value.slots()}
    found: dict[int, list[Piece]] = {}
    for slot, data in routed:
        found.setdefault(slot, [])
        if data:
            found[slot].append(Piece.decode(slot, bytes(data)))
    for slot, pieces in found.items():
        yield slot, merge_pieces(pieces, plan.value, *places[slot]).to_bytes()
