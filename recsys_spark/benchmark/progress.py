"""What is being measured, what is left, and about how long; to the log."""

from __future__ import annotations

import logging
import statistics

log = logging.getLogger(__name__)


class Progress:
    """Counts measured processes against the number that are planned.

    Parameters
    ----------
    planned : processes that the run is going to ask for
    """

    def __init__(self, planned: int) -> None:
        self.planned, self.done = planned, 0
        self._seconds: dict[str, list[float]] = {}

    def begin(self, what: str, kind: str) -> None:
        """Say what is measured now, and what is left; `kind` of process, whose time is reckoned by its like."""
        self._kind = kind
        log.info("%d of %d: %s%s", self.done + 1, self.planned, what, self._left(kind))

    def end(self, seconds: float) -> None:
        """A process took so long, now or in the run that was cut short."""
        self.done += 1
        self.planned = max(self.planned, self.done)
        self._seconds.setdefault(self._kind, []).append(seconds)

    def spare(self, processes: int) -> None:
        """So many of those that were planned are not needed."""
        self.planned = max(self.done, self.planned - processes)

    def _left(self, kind: str) -> str:
        every = [seconds for found in self._seconds.values() for seconds in found]
        if not every:
            return ""
        minutes = (self.planned - self.done) * statistics.fmean(self._seconds.get(kind, every)) / 60
        return f"; {self.planned - self.done} left, about {max(1, round(minutes))} min"
