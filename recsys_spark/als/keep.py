"""What one pass over a block leaves for the next on the same executor: normal equations that cost more to make twice.

Nothing depends on it: what is not found is computed again, to the same bits. Executor.
"""

from __future__ import annotations

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys_spark.kernels.rows import F32
from recsys_spark.kernels.systems import NO_SYSTEMS


class Keep(ABC):
    """One block's place; ``ticket`` names the pass."""

    @abstractmethod
    def make(self, ticket: str, shape: tuple[int, int], fill: Callable[[F32], None]) -> None:
        """Let ``fill`` write a float32 array of that shape, and keep it instead of what is there."""

    @abstractmethod
    def take(self, ticket: str, shape: tuple[int, int]) -> F32:
        """The array that was kept under the ticket, or one without rows."""


class MemoryKeep(Keep):
    """In this process."""

    def __init__(self) -> None:
        self._kept: tuple[str, F32] = ("", NO_SYSTEMS)

    def make(self, ticket: str, shape: tuple[int, int], fill: Callable[[F32], None]) -> None:
        """See `Keep`; the last array's memory is used again where it fits."""
        array = self._kept[1] if self._kept[1].shape == shape else np.empty(shape, np.float32)
        self._kept = ("", NO_SYSTEMS)
        fill(array)
        self._kept = (ticket, array)

    def take(self, ticket: str, shape: tuple[int, int]) -> F32:
        """See `Keep`."""
        return self._kept[1] if self._kept[0] == ticket and self._kept[1].shape == shape else NO_SYSTEMS


class FileKeep(Keep):
    """A memory-mapped file beside the block's own: another task, in another process, may be the one to take it."""

    def __init__(self, directory: Path, slot: int) -> None:
        self._directory, self._slot = directory, slot

    def make(self, ticket: str, shape: tuple[int, int], fill: Callable[[F32], None]) -> None:
        """See `Keep`: written under an attempt's own name, then renamed. Without room on the disk, nothing is kept."""
        path = self._path(ticket)
        for old in self._directory.glob(f"{self._slot}-*.sums"):
            old.unlink(missing_ok=True)
        attempt = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            with attempt.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(4 * shape[0] * shape[1], 1))
            array = np.memmap(attempt, np.float32, "r+", shape=shape) if shape[0] else NO_SYSTEMS
        except OSError:
            attempt.unlink(missing_ok=True)
            fill(NO_SYSTEMS)
            return
        try:
            fill(np.asarray(array))
            os.replace(attempt, path)
        finally:
            attempt.unlink(missing_ok=True)

    def take(self, ticket: str, shape: tuple[int, int]) -> F32:
        """See `Keep`."""
        try:
            if shape[0] == 0 or self._path(ticket).stat().st_size != 4 * shape[0] * shape[1]:
                return NO_SYSTEMS
            # Copy on write: nothing writes, but Numba compiles anew for arrays that are marked read-only.
            return np.asarray(np.memmap(self._path(ticket), np.float32, "c", shape=shape))
        except FileNotFoundError:
            return NO_SYSTEMS

    def _path(self, ticket: str) -> Path:
        return self._directory / f"{self._slot}-{ticket}.sums"
