"""Row groups of local Parquet files as batches of ratings, as Spark would have read them; plain functions, executor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_ROWS = 1 << 16  # of a batch
_TYPES = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "array<int>": pa.list_(pa.int32()),
    "array<float>": pa.list_(pa.float32()),
}


class Column(NamedTuple):
    """One column to read."""

    name: str  # what it is called from then on
    source: str  # its name in the files
    kind: str  # its type as Spark writes it, which files must have
    casts: tuple[str, ...] = ()  # types that it is cast to, one after the other
    fill: bool = False  # nulls are False


class Span(NamedTuple):
    """Rows start:stop of a row group."""

    path: str
    group: int
    start: int
    stop: int


class UnreadableError(Exception):
    """A file is not what it was taken for: Spark may know more of it."""


def read_spans(spans: Iterable[Span], columns: Iterable[Column]) -> Iterator[pa.RecordBatch]:
    """Batches of the spans' rows with the columns' names.

    Raises
    ------
    UnreadableError
        A file cannot be read, lacks a column, or has it in another type.
    """
    columns = list(columns)
    try:
        for span in spans:
            yield from _read(span, columns)
    except (OSError, pa.ArrowException) as reason:
        raise UnreadableError(str(reason)) from reason


def check(path: str, schema: pa.Schema, columns: Iterable[Column]) -> None:
    """Raise UnreadableError where a file lacks a column or has it in another type."""
    for column in columns:
        kinds = [_plain(schema.field(i).type) for i in schema.get_all_field_indices(column.source)]
        if kinds != [_TYPES[column.kind]]:
            raise UnreadableError(f"{path} has {kinds} for {column.source}, not {column.kind}")


def _plain(kind: pa.DataType) -> pa.DataType:
    """A list without the name of its elements, and whether they may be null."""
    return pa.list_(kind.value_type) if pa.types.is_list(kind) else kind


def _read(span: Span, columns: list[Column]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(span.path, page_checksum_verification=True) as file:
        check(span.path, file.schema_arrow, columns)
        names = [column.source for column in columns]
        at = 0
        for batch in file.iter_batches(_ROWS, row_groups=[span.group], columns=names, use_threads=False):
            first, last = max(span.start - at, 0), min(span.stop - at, batch.num_rows)
            at += batch.num_rows
            if first < last:
                arrays = [_converted(batch.column(c.source).slice(first, last - first), c) for c in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=[c.name for c in columns])
            if at >= span.stop:
                return


def _converted(array: pa.Array, column: Column) -> pa.Array:
    for kind in column.casts:
        array = pc.cast(array, _TYPES[kind], safe=False)  # rounds to the nearest, overflows to infinity, as Java does
    return pc.fill_null(array, False) if column.fill else array
