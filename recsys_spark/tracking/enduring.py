"""A run that outlives an outage of its MLflow store: what the store does not take is written down; driver only."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recsys_spark.config import Settings, dataset_slug
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.journal import PENDING, Journal
from recsys_spark.tracking.run import Tracker, first_line
from recsys_spark.tracking.store import OUTAGES, few_retries, is_outage, open_run, replayed

log = logging.getLogger(__name__)


class EnduringTracker(Tracker):
    """Tells a run's tracker; from the first call that its store does not take, a journal, which keeps the order."""

    def __init__(self, inner: Tracker | None, journal: Journal | None, begin: Callable[[], Journal]) -> None:
        self._inner, self.journal, self._begin = inner, journal, begin
        self._learn()

    def fall_back(self, problem: BaseException) -> Journal:
        """Go on with the journal; says so, once."""
        if self.journal is None:
            self.journal = self._begin()
            log.warning(
                "MLflow does not take the record (%s): it is kept in %s; jobs/replay.py tells it later",
                first_line(problem),
                self.journal.path,
            )
            self._learn()
        return self.journal

    def _learn(self) -> None:
        """Take over what is known of the run."""
        told = self._inner or self.journal
        for name in Tracker.__annotations__ if told else ():
            setattr(self, name, getattr(told, name))

    def tell(self, method: str, *arguments: Any, **named: Any) -> None:
        """Make one of `Tracker`'s calls."""
        if self.journal is None:
            try:
                with few_retries():
                    getattr(self._inner, method)(*arguments, **named)
                return self._learn()
            except OUTAGES as problem:
                self.fall_back(problem)
        getattr(self.journal, method)(*arguments, **named)


def _passed_on(method: str) -> Callable[..., None]:
    @functools.wraps(getattr(Tracker, method))
    def call(self: EnduringTracker, *arguments: Any, **named: Any) -> None:
        self.tell(method, *arguments, **named)

    return call


for _method in [name for name in vars(Tracker) if name.startswith("log_")]:
    setattr(EnduringTracker, _method, _passed_on(_method))


@contextlib.contextmanager
def open_enduring(settings: Settings, name: str, run_id: str | None) -> Iterator[EnduringTracker]:
    """`track` with tracking enabled. EnvironmentProblem only where waiting for the store would not help."""
    folder = Path(settings.tracking.pending).expanduser()
    tags = {"job": name, "dataset": dataset_slug(settings.dataset)}
    begin = {"experiment": settings.tracking.experiment, "run_name": settings.tracking.run_name, "tags": tags}
    inner, journal, outage, run = None, None, None, contextlib.ExitStack()
    if run_id is not None and (folder / run_id).is_dir():
        journal = Journal(folder, run_id, begin)  # earlier steps wait there: the order is kept
        log.warning("the run %s waits in %s for jobs/replay.py: this is added there", run_id, journal.path)
    else:
        try:
            known = replayed(settings, run_id) if run_id is not None and run_id.startswith(PENDING) else run_id
            inner = run.enter_context(open_run(settings, name, known))
        except (EnvironmentProblem, *OUTAGES) as problem:
            outage = problem.__cause__ if isinstance(problem, EnvironmentProblem) else problem
            if not isinstance(outage, Exception) or not is_outage(outage):
                raise
    tracker = EnduringTracker(inner, journal, lambda: Journal(folder, inner.run_id if inner else run_id, begin))
    if outage is not None:
        tracker.fall_back(outage)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        try:
            run.__exit__(*sys.exc_info())  # ends the run, as what happened inside says
        except OUTAGES as problem:
            tracker.fall_back(problem)
        if tracker.journal is not None:
            tracker.journal.close(status)
