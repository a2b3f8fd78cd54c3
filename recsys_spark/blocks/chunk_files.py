"""Coded chunks in files of the executor that made them. Executor.

A chunk takes three to five bytes a rating. Handed to Spark to keep, and back twice, as a task's rows are, they cost a
build of Parquet files as much as coding them had. A task leaves them in a file and hands on its name; a task elsewhere,
or that finds the file gone or touched, codes the same rows of the same Parquet files again.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.blocks.residency import BlockStore, State, state_of
from recsys_spark.blocks.rowgroups import Column, Span


class ChunkFile(NamedTuple):
    """Chunks of some rows, in a file of one executor."""

    store: str
    name: str
    lengths: tuple[int, ...]  # bytes of each chunk, one after the other
    state: State  # of the file as its writer left it
    spans: list[Span]  # the rows
    columns: list[Column]

    def read(self) -> list[np.ndarray] | None:
        """The chunks, uint8, memory-mapped; None where the file is not here as it was left."""
        path = _folder(self.store) / self.name
        with contextlib.suppress(FileNotFoundError):
            mapped = np.memmap(path, np.uint8, mode="c")
            if state_of(path.stat()) == self.state and len(mapped) == sum(self.lengths):
                return np.split(mapped, np.cumsum(self.lengths)[:-1])
        return None


def write_chunks(chunks: Iterable[pa.Buffer], store: str, spans: list[Span], columns: list[Column]) -> ChunkFile | None:
    """Leave chunks in a file of this executor; None where there are none.

    Parameters
    ----------
    chunks : consumed one by one: none is held once it is written
    store : str
        A name that no other store of the application has.
    spans, columns : the rows that they are of
    """
    folder, name, lengths = _folder(store), uuid.uuid4().hex, []
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            lengths = [file.write(chunk) for chunk in chunks]
    except BaseException:  # a full disk is not to stay full of half the chunks
        path.unlink(missing_ok=True)
        raise
    if not lengths:
        path.unlink()
        return None
    return ChunkFile(store, name, tuple(lengths), state_of(path.stat()), spans, columns)


def _folder(store: str) -> Path:
    return BlockStore.here(store).directory
