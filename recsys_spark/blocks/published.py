"""Blocks as Parquet: one file for each block and kind of entry, sorted, with the index of both sides beside them.

Table ``entries``: row, col, value, weight (null: 1), partitioned by side (user, item), kind (rating, held_out, feature,
graph) and block. Tables ``user_ids``, ``item_ids``: row, id. The cuts between blocks, and what the feature columns
mean, are in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_spark import lake
from recsys_spark.blocks.build import route
from recsys_spark.blocks.grouped import Grouped
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block, Entries
from recsys_spark.blocks.pieces import KINDS, Piece
from recsys_spark.blocks.plan import Plan, SidePlan
from recsys_spark.blocks.scan import local_paths
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.rows import Csr

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import SparkSession

ENTRIES = "entries"
_ENTRIES_DDL = "side string, kind string, block int, row int, col int, value float, weight float"
_SCHEMA = pa.schema(
    [
        ("side", pa.string()),
        ("kind", pa.string()),
        ("block", pa.int32()),
        ("row", pa.int32()),
        ("col", pa.int32()),
        ("value", pa.float32()),
        ("weight", pa.float32()),
    ]
)


class PublishedBlocks:
    """The blocks of a published version: the plan at once, the records when a fit asks for them. Driver."""

    def __init__(self, spark: SparkSession, published: lake.Published) -> None:
        self.spark, self._published = spark, published
        extra = published.manifest.extra
        self.columns = (_columns(extra, USERS), _columns(extra, ITEMS))
        self.plan = Plan(self._side(USERS, extra), self._side(ITEMS, extra))

    @property
    def ratings(self) -> int:
        """How many training ratings there are."""
        return int(self._published.manifest.extra["metrics"]["train_ratings"])

    def records(self, plan: Broadcast[Plan]) -> RDD[tuple[int, bytes]]:
        """As `blocks.build.block_records`, from the published entries.

        A block's local files are read by the task that merges them; others are read whole by Spark, and shuffled.
        """
        lake.check_files(self.spark, self._published, ENTRIES)
        source = self.spark.read.format("binaryFile").option("pathGlobFilter", "*.parquet")
        files = source.load(self._published.table(ENTRIES))
        local = local_paths(list(files.inputFiles()))
        if local is None:
            rows = files.select("side", "kind", "block", "content").rdd
            return route(rows.mapPartitions(partial(_read_files, plan=plan)), plan)
        named = []
        for path in local:
            side, kind, block = (part.partition("=")[2] for part in path.split("/")[-4:-1])
            named.append((plan.value.slot(SIDE_NAMES.index(side), int(block)), (KINDS.index(kind), path)))
        return route(self.spark.sparkContext.parallelize(named), plan, _read_file)

    def _side(self, side: int, extra: Any) -> SidePlan:
        name = SIDE_NAMES[side]
        table = lake.collect_table(self.spark, self._published.path, f"{name}_ids").sort_by("row")
        bounds = np.asarray(extra["bounds"][name], np.int64)
        return SidePlan(table["id"].combine_chunks(), bounds, len(self.columns[side]))


def _columns(extra: Any, side: int) -> tuple[FeatureColumn, ...]:
    return tuple(FeatureColumn(**c) for c in extra["columns"][SIDE_NAMES[side]])


def write_blocks(
    spark: SparkSession,
    draft: lake.Draft,
    records: RDD[tuple[int, bytes]],
    plan: Plan,
    columns: tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]],
) -> dict[str, Any]:
    """Fill a draft with blocks and index; returns what the manifest's ``extra`` must hold. Driver."""
    table = spark.createDataFrame(records.mapValues(bytearray), "slot int, record binary")
    entries = table.mapInArrow(partial(_write_batches, plan=plan), _ENTRIES_DDL)
    draft.write_table(entries, ENTRIES, partition_by=("side", "kind", "block"))
    for side in (USERS, ITEMS):
        ids = plan.side(side).ids
        rows = pa.table({"row": pa.array(np.arange(len(ids), dtype=np.int32)), "id": ids})
        draft.write_table(spark.createDataFrame(rows), f"{SIDE_NAMES[side]}_ids")
    return {
        "bounds": {SIDE_NAMES[s]: plan.side(s).bounds.tolist() for s in (USERS, ITEMS)},
        "columns": {SIDE_NAMES[s]: [asdict(c) for c in columns[s]] for s in (USERS, ITEMS)},
    }


def _write_batches(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    places = {slot: block for slot, _, block in plan.slots()}
    for batch in batches:
        for slot, record in zip(batch.column("slot"), batch.column("record"), strict=True):
            block = Block.from_buffer(record.as_buffer())
            for kind, csr in zip(KINDS, (block.ratings, block.features, block.held_out, block.graph), strict=True):
                if len(csr.values):
                    yield _flat(block, kind, places[slot.as_py()], csr)


def _flat(block: Block, kind: str, number: int, csr: Csr) -> pa.RecordBatch:
    n = len(csr.values)
    rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(csr.indptr))
    weights = pa.array(csr.weights) if csr.weights.size else pa.nulls(n, pa.float32())
    columns = [
        pa.repeat(SIDE_NAMES[block.side], n), pa.repeat(kind, n), pa.repeat(pa.scalar(number, pa.int32()), n),
        pa.array(rows), pa.array(csr.cols), pa.array(csr.values), weights,
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _read_file(slot: int, named: tuple[int, str]) -> Piece:
    """The piece of a block that a local file holds, given its kind and path."""
    kind, path = named
    return Piece(slot, kind, Grouped.of(_entries(path)))


def _read_files(files: Iterable[tuple[str, str, int, bytes]], plan: Broadcast[Plan]) -> Iterator[tuple[int, bytes]]:
    for side, kind, block, content in files:
        slot = plan.value.slot(SIDE_NAMES.index(side), block)
        yield slot, Piece(slot, KINDS.index(kind), Grouped.of(_entries(pa.py_buffer(content)))).encode()


def _entries(file: str | pa.Buffer) -> Entries:
    # ParquetFile, not read_table: that one would look for partitions in a path, and there is none to find.
    with pq.ParquetFile(file, page_checksum_verification=True) as opened:
        part = opened.read(columns=["row", "col", "value", "weight"], use_threads=False)
    weight = part["weight"]
    return Entries.of(
        part["row"].to_numpy(),
        part["col"].to_numpy(),
        part["value"].to_numpy(),
        None if weight.null_count == len(part) else weight.fill_null(1.0).to_numpy(),
    )
