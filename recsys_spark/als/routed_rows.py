"""Rows of a model on their way into routed blocks, and out of them as a DataFrame; see `als.routed`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys_spark.als.messages import Inbox, Kind, Message
from recsys_spark.als.model import FittedModel
from recsys_spark.als.spread import SpreadModel
from recsys_spark.blocks.layout import USERS
from recsys_spark.blocks.plan import Layout
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.blocks.wire import pack
from recsys_spark.errors import FitError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame, SparkSession


def given_rows(
    spark: SparkSession, model: SpreadModel | FittedModel, side: int, layout: Layout, rank: int
) -> RDD[tuple[int, tuple[int, Message]]]:
    """A model's rows of a side, each in the partition of the block that may have it; lazy. Driver."""
    rows = _known_rows(spark, model, side)
    find = partial(_find_blocks, layout=layout, side=side)
    with fast_transfer(spark):
        found = rows.select("id", "factors", "bias").mapInArrow(find, "slot int, ids binary, rows binary").rdd
    sent: RDD[Any] = found.map(partial(_give, side=side, layout=layout, rank=rank))
    return sent.partitionBy(layout.grid.partitions, int)


def rows_frame(spark: SparkSession, elements: RDD[Any], slots: Iterable[int], id_type: pa.DataType) -> DataFrame:
    """(id, factors, bias, count) of some blocks' rows, of partitions that hold them and their indexes; lazy. Driver."""
    make = partial(_tables, slots=frozenset(slots))
    kind = "long" if pa.types.is_integer(id_type) else "string"
    with fast_transfer(spark):
        packed = spark.createDataFrame(elements.mapPartitions(make), "rows binary")
        return packed.mapInArrow(_unpacked, f"id {kind}, factors array<float>, bias float, count double")


def _known_rows(spark: SparkSession, model: SpreadModel | FittedModel, side: int) -> DataFrame:
    """(id, factors, bias) of one side of a model, wherever it lies."""
    if isinstance(model, SpreadModel):
        return (model.user if side == USERS else model.item).rows
    held = model.user if side == USERS else model.item
    offsets = np.arange(len(held) + 1, dtype=np.int32) * np.int32(held.rank)
    factors = pa.ListArray.from_arrays(pa.array(offsets), pa.array(held.factors.ravel()))
    return spark.createDataFrame(pa.table({"id": held.ids, "factors": factors, "bias": held.biases}))


def _find_blocks(batches: Iterable[pa.RecordBatch], layout: Layout, side: int) -> Iterator[pa.RecordBatch]:
    """A model's rows by the block between whose cuts their ids lie; it may not have them."""
    for batch in batches:
        batch = batch.sort_by("id")
        ids = batch.column("id")
        factors = batch.column("factors").flatten().to_numpy(zero_copy_only=False)
        whole = np.column_stack([factors.reshape(len(ids), -1), batch.column("bias").to_numpy()]).astype(np.float32)
        edges = layout.cuts.side(side).edges(ids)
        for block in np.flatnonzero(np.diff(edges)).tolist():
            first, last = edges[block : block + 2].tolist()
            packed = pack({"ids": ids.slice(first, last - first)})
            columns = [[layout.grid.slot(side, block)], [packed], [whole[first:last].tobytes()]]
            types = (pa.int32(), pa.binary(), pa.binary())
            arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=["slot", "ids", "rows"])


def _give(row: Any, side: int, layout: Layout, rank: int) -> tuple[int, tuple[int, Message]]:
    """A message of rows that `_find_blocks` found a block for, by partition."""
    rows = np.frombuffer(row["rows"], np.float32).reshape(-1, rank + 1)
    slot = row["slot"]
    return layout.grid.partition(slot), (slot, Message(slot, side, Kind.GIVEN, 0, rows, bytes(row["ids"])))


def _tables(elements: Iterable[Any], slots: frozenset[int]) -> Iterator[tuple[bytearray]]:
    """(id, factors, bias, count) of blocks' rows as they are, each block's as one Arrow stream."""
    inbox = Inbox(elements)
    for slot, index in inbox.indexes.items():
        if slot not in slots:
            continue
        counts, rows = index.counts, inbox.mine(slot, index.start)
        if len(rows.biases) != len(counts):
            raise FitError(f"the rows of block {slot} are lost; fit again: it goes on from its last checkpoint")
        offsets = np.arange(len(counts) + 1, dtype=np.int32) * np.int32(rows.factors.shape[1])
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.factors.ravel()))
        batch = pa.RecordBatch.from_arrays(
            [index.ids, lists, pa.array(rows.biases), pa.array(counts)], names=["id", "factors", "bias", "count"]
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield (bytearray(sink.getvalue()),)


def _unpacked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What `_tables` packed."""
    for batch in batches:
        for packed in batch.column("rows"):
            yield from pa.ipc.open_stream(packed.as_buffer())
