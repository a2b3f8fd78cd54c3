"""Where blocks stay during a fit: a memory-mapped file on the executor that works on them.

The chain input → `records` (an RDD of one binary record a block, on executors' disks) → file: each layer can be rebuilt
from the one before. A handle names a block and its content; a task that finds no such file under its own executor's
directory says MISS, and the driver reruns that partition from `records`, which leaves the file there. No path is ever
shipped, so a handle fetched by another executor is simply a miss.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys_spark.blocks.layout import Block

# Files whose content this process has checked: inode and times then.
_checked: dict[Path, tuple[int, int, int]] = {}


class Handle(NamedTuple):
    """Names a block's file within any executor's store."""

    slot: int
    side: int
    digest: str
    size: int


class Miss(NamedTuple):
    """A block whose file is not here."""

    slot: int


class BlockStore:
    """The files of one fit under one executor's own directory. Executor."""

    def __init__(self, fit: str, root: str | os.PathLike[str]) -> None:
        self.directory = Path(root) / "recsys-spark-blocks" / fit

    @classmethod
    def here(cls, fit: str) -> BlockStore:
        """The store of the executor that this task runs on: Spark removes its directory with the application."""
        from pyspark import SparkFiles

        return cls(fit, SparkFiles.getRootDirectory())

    def put(self, slot: int, record: bytes) -> Handle:
        """Write a record under its content's name: by an attempt's own name first, then one rename."""
        block = Block.from_buffer(record)
        handle = Handle(slot, block.side, _digest(record), len(record))
        path = self._path(handle)
        if not self._whole(handle):
            self.directory.mkdir(parents=True, exist_ok=True)
            attempt = path.with_suffix(f".{uuid.uuid4().hex}")
            attempt.write_bytes(record)
            os.replace(attempt, path)
        return handle

    def open(self, handle: Handle) -> Block | Miss:
        """The block, memory-mapped, or MISS where its file is absent or holds anything else."""
        if not self._whole(handle):
            return Miss(handle.slot)
        # Copy on write: nothing writes, but Numba compiles anew for arrays that are marked read-only.
        return Block.from_buffer(np.memmap(self._path(handle), np.uint8, mode="c"))

    def clear(self) -> None:
        """Remove the fit's files."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, handle: Handle) -> Path:
        return self.directory / f"{handle.slot}-{handle.digest}.blk"

    def _whole(self, handle: Handle) -> bool:
        """Whether the file is there with the handle's content: read whole at first, and again if it was touched."""
        path = self._path(handle)
        try:
            found = path.stat()
            if found.st_size != handle.size:
                return False
            state = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            if _checked.get(path) != state:
                if _digest(np.memmap(path, np.uint8, mode="r")) != handle.digest:
                    return False
                _checked[path] = state
        except FileNotFoundError:
            return False
        return True


def _digest(record: Any) -> str:
    return hashlib.blake2b(record, digest_size=16).hexdigest()


def materialise(records: Iterable[tuple[int, bytes]], fit: str) -> Iterator[Handle]:
    """Leave each (slot, record) as a file on this executor; yields the handles."""
    store = BlockStore.here(fit)
    for slot, record in records:
        yield store.put(slot, record)


def clear_store(_: Iterable[object], fit: str) -> Iterator[None]:
    """Remove the fit's files from this executor."""
    BlockStore.here(fit).clear()
    return iter(())
