"""Blocks as Parquet: one file for each block and kind of entry, sorted, with the index of both sides beside them.

Table ``entries``: row, col, value, weight (null: 1), partitioned by side (user, item), kind (rating, held_out, feature,
graph) and block. Tables ``user_ids``, ``item_ids``: row, id. The cuts between blocks, and what the feature columns
mean, are in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import functions as F

from recsys_spark import lake
from recsys_spark.blocks.build import PIECES_DDL, gather, merge_with_plan, merged
from recsys_spark.blocks.grouped import Grouped
from recsys_spark.blocks.layout import ITEMS, PARTS, SIDE_NAMES, USERS, Block, Entries
from recsys_spark.blocks.pieces import KINDS, Piece, merge_pieces
from recsys_spark.blocks.plan import Cuts, Grid, Layout, Plan, SideCuts, SidePlan
from recsys_spark.blocks.ranged import Ranged, pack_ids
from recsys_spark.blocks.scan import local_paths
from recsys_spark.blocks.transfer import fast_transfer
from recsys_spark.blocks.wire import unpack
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.rows import Csr

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame, SparkSession

ENTRIES = "entries"
_IDS = len(KINDS)
"""What stands for a block's ids among its pieces."""
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
    """The blocks of a published version, read when a fit asks for them. A `blocks.source.BlockSource`; driver."""

    def __init__(self, spark: SparkSession, published: lake.Published) -> None:
        self.spark, self._published = spark, published
        extra = published.manifest.extra
        self.columns = (_columns(extra, USERS), _columns(extra, ITEMS))
        users, items = (np.asarray(extra["bounds"][name], np.int64) for name in SIDE_NAMES)
        self._bounds = users, items

    @property
    def ratings(self) -> int:
        """How many training ratings there are."""
        return int(self._published.manifest.extra["metrics"]["train_ratings"])

    @property
    def rows(self) -> tuple[int, int]:
        """How many users and items there are."""
        return int(self._bounds[USERS][-1]), int(self._bounds[ITEMS][-1])

    @cached_property
    def plan(self) -> Plan:
        """The index of both sides."""
        return Plan(self._side(USERS), self._side(ITEMS))

    def records(self, plan: Broadcast[Plan]) -> RDD[tuple[int, Block]]:
        """As `blocks.build.block_records`, from the published entries.

        A block's local files are read by the task that merges them; others are read whole by Spark, and shuffled.
        """
        grid = plan.value.grid
        return merged(gather(self._files(grid), grid), grid, partial(merge_with_plan, plan=plan, decode=_decode))

    @contextmanager
    def ranged(self, rank: int, shared: int | None = None) -> Iterator[Ranged]:
        """As `blocks.ranged.ranged_blocks`; ids are read by executors, and the grid is that which was published."""
        layout = Layout(Cuts(self._cuts(USERS), self._cuts(ITEMS)), self._bounds)
        ids = self.spark.sparkContext.union([self._ids(USERS, layout), self._ids(ITEMS, layout)])
        parts = [self._files(layout.grid), ids.mapValues(_as_piece)]
        gathered = gather(self.spark.sparkContext.union(parts), layout.grid)
        yield Ranged(layout, merged(gathered, layout.grid, partial(_merge_named, layout=layout)), ids)

    def _files(self, grid: Grid) -> RDD[tuple[int, Any]]:
        """(slot, what stands for a piece) of all entries."""
        lake.check_files(self.spark, self._published, ENTRIES)
        source = self.spark.read.format("binaryFile").option("pathGlobFilter", "*.parquet")
        files = source.load(self._published.table(ENTRIES))
        local = local_paths(list(files.inputFiles()))
        if local is None:
            rows = files.select("side", "kind", "block", "content").rdd
            return rows.mapPartitions(partial(_read_files, grid=grid))
        named = []
        for path in local:
            side, kind, block = (part.partition("=")[2] for part in path.split("/")[-4:-1])
            named.append((grid.slot(SIDE_NAMES.index(side), int(block)), (KINDS.index(kind), path)))
        return self.spark.sparkContext.parallelize(named)

    def _side(self, side: int) -> SidePlan:
        table = lake.collect_table(self.spark, self._published.path, f"{SIDE_NAMES[side]}_ids").sort_by("row")
        return SidePlan(table["id"].combine_chunks(), self._bounds[side], len(self.columns[side]))

    def _cuts(self, side: int) -> SideCuts:
        bounds = self._bounds[side][1:-1]
        table = lake.read_table(self.spark, self._published.path, f"{SIDE_NAMES[side]}_ids")
        starts = table.where(F.col("row").isin(np.unique(bounds).tolist())).toArrow().sort_by("row")
        first = np.searchsorted(starts["row"].to_numpy(), bounds[bounds < self._bounds[side][-1]])
        return SideCuts(starts["id"].combine_chunks().take(pa.array(first)), len(bounds) + 1, len(self.columns[side]))

    def _ids(self, side: int, layout: Layout) -> RDD[tuple[int, bytes]]:
        """As `Ranged.ids`, of a side."""
        table = lake.read_table(self.spark, self._published.path, f"{SIDE_NAMES[side]}_ids")
        with fast_transfer(self.spark):
            cut = table.mapInArrow(partial(_cut_ids, side=side, layout=layout), PIECES_DDL).rdd
        return cut.map(_packed_ids)


def _columns(extra: Any, side: int) -> tuple[FeatureColumn, ...]:
    return tuple(FeatureColumn(**c) for c in extra["columns"][SIDE_NAMES[side]])


def write_blocks(
    spark: SparkSession,
    draft: lake.Draft,
    records: RDD[tuple[int, Block]],
    bounds: tuple[np.ndarray, np.ndarray],
    ids: tuple[DataFrame, DataFrame],
    columns: tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]],
) -> dict[str, Any]:
    """Fill a draft with blocks and index; returns what the manifest's ``extra`` must hold. Driver.

    Parameters
    ----------
    records : RDD of (slot, block)
        Blocks, localised or not.
    bounds, ids : of users and items
        As `Layout.bounds`; as `plan_ids` or `ranged_ids` gives them.
    """
    grid = Grid(len(bounds[USERS]) - 1, len(bounds[ITEMS]) - 1)
    table = spark.createDataFrame(records.mapValues(_as_binary), "slot int, record binary")
    entries = table.mapInArrow(partial(_write_batches, grid=grid), _ENTRIES_DDL)
    draft.write_table(entries, ENTRIES, partition_by=("side", "kind", "block"))
    for name, rows in zip(SIDE_NAMES, ids, strict=True):
        draft.write_table(rows, f"{name}_ids")
    return {
        "bounds": {SIDE_NAMES[s]: bounds[s].tolist() for s in (USERS, ITEMS)},
        "columns": {SIDE_NAMES[s]: [asdict(c) for c in columns[s]] for s in (USERS, ITEMS)},
    }


def _as_binary(block: Block) -> bytearray:
    return bytearray().join(block.parts())


def plan_ids(spark: SparkSession, side: SidePlan) -> DataFrame:
    """(row, id) of a side that the driver knows."""
    rows = pa.array(np.arange(len(side.ids), dtype=np.int32))
    return spark.createDataFrame(pa.table({"row": rows, "id": side.ids}))


def ranged_ids(spark: SparkSession, found: Ranged, side: int) -> DataFrame:
    """(row, id) of a side whose ids lie with its blocks."""
    packed = spark.createDataFrame(
        found.ids.mapPartitions(partial(_of_side, side=side, layout=found.layout)), "ids binary"
    )
    kind = "long" if pa.types.is_integer(found.layout.cuts.side(side).starts.type) else "string"
    return packed.mapInArrow(_unpacked_ids, f"row int, id {kind}")


def _of_side(ids: Iterable[tuple[int, bytes]], side: int, layout: Layout) -> Iterator[tuple[bytearray]]:
    return ((bytearray(packed),) for slot, packed in ids if layout.grid.side(slot) == side)


def _unpacked_ids(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for packed in batch.column(0):
            yield pa.RecordBatch.from_pydict(unpack(packed.as_buffer()))


def _write_batches(batches: Iterable[pa.RecordBatch], grid: Grid) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for slot, record in zip(batch.column("slot"), batch.column("record"), strict=True):
            block = Block.from_buffer(record.as_buffer())
            for kind, part in zip(KINDS, PARTS, strict=True):
                csr = getattr(block, part)
                if len(csr.values):
                    yield _flat(block, kind, grid.block(slot.as_py()), csr._replace(cols=block.global_cols(part)))


def _flat(block: Block, kind: str, number: int, csr: Csr) -> pa.RecordBatch:
    n = len(csr.values)
    rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(csr.indptr))
    weights = pa.array(csr.weights) if csr.weights.size else pa.nulls(n, pa.float32())
    columns = [
        pa.repeat(SIDE_NAMES[block.side], n), pa.repeat(kind, n), pa.repeat(pa.scalar(number, pa.int32()), n),
        pa.array(rows), pa.array(csr.cols), pa.array(csr.values), weights,
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _decode(slot: int, found: bytes | tuple[int, str]) -> Piece:
    """A piece, or what a local file holds, given its kind and path."""
    if isinstance(found, bytes):
        return Piece.decode(slot, found)
    kind, path = found
    return Piece(slot, kind, Grouped.of(_entries(path)))


def _read_files(files: Iterable[tuple[str, str, int, bytes]], grid: Grid) -> Iterator[tuple[int, bytes]]:
    for side, kind, block, content in files:
        slot = grid.slot(SIDE_NAMES.index(side), block)
        yield slot, Piece(slot, KINDS.index(kind), Grouped.of(_entries(pa.py_buffer(content)))).encode()


def _cut_ids(batches: Iterable[pa.RecordBatch], side: int, layout: Layout) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = batch.column("row").to_numpy()
        order = np.argsort(rows)
        edges = np.searchsorted(rows[order], layout.bounds[side])
        for block in np.flatnonzero(np.diff(edges)).tolist():
            mine = batch.take(pa.array(order[edges[block] : edges[block + 1]]))
            packed = pack_ids(mine.column("row").to_numpy(), mine.column("id"))
            columns = [pa.array([layout.grid.slot(side, block)], pa.int32()), pa.array([packed], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["slot", "piece"])


def _packed_ids(row: Any) -> tuple[int, bytes]:
    return row["slot"], bytes(row["piece"])


def _as_piece(packed: bytes) -> tuple[int, bytes]:
    return _IDS, packed


def _merge_named(found: list[Any], slot: int, side: int, block: int, layout: Layout) -> Block:
    parts = [pa.table(unpack(f[1])) for f in found if not isinstance(f, bytes) and f[0] == _IDS]
    kind = layout.cuts.side(side).starts.type
    ids = pa.concat_tables(parts).sort_by("row")["id"].combine_chunks() if parts else pa.array([], kind)
    pieces = (_decode(slot, f) for f in found if isinstance(f, bytes) or f[0] != _IDS)
    return merge_pieces(pieces, side, int(layout.bounds[side][block]), ids).localised(ids)


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
