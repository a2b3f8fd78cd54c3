"""Where blocks stay during a fit: a memory-mapped file on the executor that works on them.

The chain is input → coded chunks (`chunk_files`) → pieces (Spark's shuffle files, but of what is `near`) → record →
file; each layer can be rebuilt from the one before. A record is only in the hands of the task that makes it, which
writes the file: handing it to Spark's block manager and back would cost more than making it. A handle names a block and
its content; a task that finds no such file under its own executor's directory says MISS, and the driver reruns that
partition from the pieces, which leaves the file there. No path is ever shipped, so a handle fetched by another executor
is simply a miss.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from recsys_spark.blocks.layout import Block
from recsys_spark.session import is_local

if TYPE_CHECKING:
    from pyspark import RDD

State: TypeAlias = tuple[int, int, int]
"""Inode, times of last change of content and of anything: a file that still has them was not touched."""

# Files whose content this process has checked, and how it found them.
_checked: dict[Path, State] = {}


class Handle(NamedTuple):
    """Names a block's file within any executor's store."""

    slot: int
    side: int
    digest: str
    size: int
    state: State  # of the file that was written with the handle


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

    def put(self, slot: int, block: Block) -> Handle:
        """Write a block under its content's name: by an attempt's own name first, then one rename."""
        parts = block.parts()
        handle = Handle(slot, block.side, _digest(*parts), sum(map(len, parts)), (0, 0, 0))
        path = self._path(handle)
        if not self._whole(handle):
            self.directory.mkdir(parents=True, exist_ok=True)
            attempt = path.with_suffix(f".{uuid.uuid4().hex}")
            try:
                with attempt.open("wb") as file:
                    file.writelines(parts)
                os.replace(attempt, path)
            except OSError:  # a full disk is not to stay full of half a block
                attempt.unlink(missing_ok=True)
                raise
        return handle._replace(state=state_of(path.stat()))

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
        """Whether the file is there with the handle's content.

        It is read whole where it is not as the handle's writer left it, and again if it was touched since.
        """
        path = self._path(handle)
        try:
            found = path.stat()
            if found.st_size != handle.size:
                return False
            state = state_of(found)
            if state != handle.state and _checked.get(path) != state:
                if _digest(np.memmap(path, np.uint8, mode="r")) != handle.digest:
                    return False
                _checked[path] = state
        except FileNotFoundError:
            return False
        return True


def state_of(found: os.stat_result) -> State:
    """What changes of a file when anyone writes it."""
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _digest(*parts: Any) -> str:
    # Twice as fast as BLAKE2b where the processor has instructions for it; it guards against damage, not malice.
    found = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def materialise(records: Iterable[tuple[int, Block]], fit: str) -> Iterator[Handle]:
    """Leave each (slot, block) as a file on this executor; yields the handles."""
    store = BlockStore.here(fit)
    for slot, block in records:
        yield store.put(slot, block)


def clear_stores(kept: RDD[Any], fit: str) -> None:
    """Remove a fit's files from the executors that hold what is kept. Driver."""
    if is_local(kept.context.master):  # that needs no job
        BlockStore.here(fit).clear()
    else:
        kept.mapPartitions(partial(clear_store, fit=fit)).count()


def clear_store(handles: Iterable[object], fit: str) -> Iterator[None]:
    """Remove the fit's files from this executor; ``handles`` are gone through."""
    for _ in handles:  # a worker that leaves input behind is ended by Spark, and the next fit has to start another
        pass
    BlockStore.here(fit).clear()
    return iter(())
