"""A run that outlives an outage of its MLflow store: what the store does not take is written down; driver only."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from recsys_spark.config import Settings, dataset_slug
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.journal import PENDING, Journal
from recsys_spark.tracking.run import Tracker
from recsys_spark.tracking.store import OUTAGES, few_retries, is_outage, open_run, replayed

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from recsys_spark.tracking.datasets import DataSet

log = logging.getLogger(__name__)


class EnduringTracker(Tracker):
    """Tells a run's tracker; from the first call that its store does not take, a journal, which keeps the order."""

    def __init__(self, inner: Tracker | None, journal: Journal | None, begin: Callable[[], Journal]) -> None:
        self._inner, self.journal, self._begin = inner, journal, begin
        self._learn()

    @override
    def log_settings(self, settings: Settings) -> None:
        self._tell("log_settings", settings)

    @override
    def log_tags(self, tags: Mapping[str, str]) -> None:
        self._tell("log_tags", tags)

    @override
    def log_dataset(self, data: DataSet) -> None:
        self._tell("log_dataset", data)

    @override
    def log_history(self, history: pa.Table) -> None:
        self._tell("log_history", history)

    @override
    def log_model(self, model_dir: str | Path) -> None:
        self._tell("log_model", model_dir)

    @override
    def log_metrics(self, metrics: Mapping[str, float], data: DataSet | None = None) -> None:
        self._tell("log_metrics", metrics, data)

    @override
    def log_directory(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        self._tell("log_directory", local_dir, artifact_path)

    @override
    def log_table(self, table: pd.DataFrame, name: str) -> None:
        self._tell("log_table", table, name)

    @override
    def log_text(self, text: str, name: str) -> None:
        self._tell("log_text", text, name)

    @override
    def log_child(
        self,
        name: str,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        curves: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._tell("log_child", name, params, metrics, curves)

    def fall_back(self, problem: BaseException) -> Journal:
        """Go on with the journal; says so, once."""
        if self.journal is None:
            self.journal = self._begin()
            log.warning(
                "MLflow does not take the record (%s): it is kept in %s; jobs/replay.py tells it later",
                _first_line(problem),
                self.journal.path,
            )
            self._learn()
        return self.journal

    def _learn(self) -> None:
        """Take over what is known of the run."""
        told = self._inner or self.journal
        for name in Tracker.__annotations__ if told else ():
            setattr(self, name, getattr(told, name))

    def _tell(self, method: str, *arguments: Any) -> None:
        if self.journal is None:
            try:
                with few_retries():
                    getattr(self._inner, method)(*arguments)
                return self._learn()
            except OUTAGES as problem:
                self.fall_back(problem)
        getattr(self.journal, method)(*arguments)


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


def _first_line(problem: BaseException) -> str:
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__
