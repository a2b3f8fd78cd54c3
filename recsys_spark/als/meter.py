"""Where a fit's seconds and bytes go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


class Done(NamedTuple):
    """What a task made of a block, and how long it took."""

    result: Any
    view_seconds: float  # fetching the rows that the block refers to
    seconds: float  # the arithmetic
    moved: int = 0  # bytes of rows that it sent to other blocks
    side: int = -1  # of the block


def timed(task: Callable[[Any, Any], Any], block: Any, view: Callable[[], Any]) -> Done:
    """Run a task on a block, with the view that ``view`` fetches. Executor."""
    began = time.perf_counter()
    rows = view()
    fetched = time.perf_counter()
    result = task(block, rows)
    return Done(result, fetched - began, time.perf_counter() - fetched, side=block.side)


@dataclass
class Meter:
    """Seconds by phase and bytes moved, since `reset`. Driver.

    compute: arithmetic on blocks, as long as it holds up the pass: summed over tasks, divided by those that run at a
    time.  exchange: publishing rows, and fetching them in tasks.  driver: solving for projections.  The rest of an
    iteration's seconds is Spark's: scheduling tasks, moving results.  moved: bytes of rows and sums that came to the
    driver, of rows that it published (once, however many executors fetch them), and of rows that blocks sent to others.
    """

    compute: float = 0.0
    exchange: float = 0.0
    driver: float = 0.0
    moved: int = 0

    def reset(self) -> None:
        """Begin anew."""
        self.compute = self.exchange = self.driver = 0.0
        self.moved = 0

    def passed(self, tasks: list[Done], at_a_time: int) -> None:
        """Count a pass."""
        lanes = max(1, min(at_a_time, len(tasks)))
        longest = max((t.seconds for t in tasks), default=0.0)
        self.compute += max(longest, sum(t.seconds for t in tasks) / lanes)
        self.exchange += sum(t.view_seconds for t in tasks) / lanes
        self.moved += sum(t.moved for t in tasks)

    @contextmanager
    def during(self, phase: Literal["exchange", "driver"]) -> Iterator[None]:
        """Count what runs inside as a phase's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, phase, getattr(self, phase) + time.perf_counter() - began)
