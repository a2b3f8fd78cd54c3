"""Rows of a side small enough that every executor holds all of them, while the other side's are routed. Driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recsys_spark.kernels.rows import F32

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.core.broadcast import Broadcast


class Part(NamedTuple):
    """The rows of one block on their way to the driver."""

    start: int
    rows: F32  # (n, k + 1) factors and biases


class SharedRows:
    """Broadcasts of what passes have made of such a side, by the number of the pass.

    One is destroyed when no pass that may have to be gone through again has read it; until then it lies on the driver,
    and executors that need it fetch it.
    """

    def __init__(self, sc: SparkContext) -> None:
        self._sc = sc
        self._held: dict[int, Broadcast[F32]] = {}  # in order

    def publish(self, number: int, parts: Sequence[Part]) -> int:
        """Share what a pass made of the side; returns how many bytes it has."""
        ordered = sorted(parts, key=lambda part: part.start)
        whole = np.concatenate([part.rows for part in ordered if len(part.rows)])
        if self._held:
            next(reversed(self._held.values())).unpersist()
        self._held[number] = self._sc.broadcast(whole)
        return whole.nbytes

    def of(self, number: int) -> Broadcast[F32]:
        """The rows (n, k + 1) that a pass made."""
        return self._held[number]

    def keep(self, numbers: Iterable[int]) -> None:
        """Destroy all but those of some passes."""
        for number in self._held.keys() - set(numbers):
            self._held.pop(number).destroy()

    def close(self) -> None:
        """Destroy all."""
        self.keep(())
