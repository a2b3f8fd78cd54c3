"""What a task hands on of the ratings that it has coded: chunks or the file that they lie in, and tallies. Executor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias, cast

import pyarrow as pa

from recsys_spark.blocks.chunk_files import ChunkFile, write_chunks
from recsys_spark.blocks.chunks import rating_chunks
from recsys_spark.blocks.rowgroups import Column, Span, UnreadableError, read_spans
from recsys_spark.blocks.wire import unpack
from recsys_spark.errors import DataError

Coded: TypeAlias = "tuple[bool | None, bytes | None, bytes | None, bytes | ChunkFile | None]"
"""As `chunks.CHUNK_DDL`, or a file of chunks in place of one; bad is null where a file cannot be read here."""


def code_spans(tasks: Iterable[list[Span]], columns: list[Column], store: str | None) -> Iterator[Coded]:
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
    return only_chunks(code_spans([file.spans], file.columns, None)) if found is None else found


def only_chunks(coded: Iterable[Coded]) -> Iterator[Any]:
    """The chunks, encoded. Raises DataError as `chunks_in`, and where chunks that were lost could not be coded anew."""
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


class Tallies(NamedTuple):
    """What the driver hears of a task."""

    bad: bool | None
    ratings: int
    whole: bool  # whether the tallies came along
    of: tuple[bytes | None, bytes | None]  # users and items
    file: ChunkFile | None = None  # that its chunks lie in


def tallies_of(coded: Iterable[Coded], limit: int) -> Iterator[Tallies]:
    """A task's tallies, which come along up to ``limit`` bytes."""
    file = None
    for bad, user, item, chunk in coded:
        if isinstance(chunk, ChunkFile):
            file = chunk
        elif chunk is None:
            whole = len(user or b"") + len(item or b"") <= limit
            rated = int(unpack(user)["count"].to_numpy().sum()) if user else 0
            yield Tallies(bad, rated, whole, (user, item) if whole else (None, None), file)
            file = None


def side_tallies(coded: Iterable[Coded], side: int) -> Iterator[tuple[bytearray]]:
    """The tallies of one side, packed."""
    tallies = (cast(bytes | None, row[1 + side]) for row in coded)
    return ((bytearray(tally),) for tally in tallies if tally is not None)


def tally_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(id, count) of packed tallies."""
    for batch in batches:
        for data in batch.column(0):
            yield pa.RecordBatch.from_pydict(unpack(data.as_buffer()))
