"""One MLflow run per training: `with track(settings, "train") as tracker: …`; driver only.

A later step (evaluation of a model that was trained before) takes the run up again by its id. With tracking disabled
the same calls do nothing and mlflow is not imported.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from recsys_spark.config import Settings
from recsys_spark.errors import ConfigError
from recsys_spark.tracking.quiet import quiet

if TYPE_CHECKING:
    import pandas as pd

    from recsys_spark.als.model import FittedModel
    from recsys_spark.tracking.datasets import DataSet
    from recsys_spark.tracking.registry import Registry


class Child(NamedTuple):
    """A finished run nested in another: its name, parameters, metrics, and curves with a value a step, from 1."""

    name: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]] = MappingProxyType({})


class Tracker:
    """What steps tell about a training. This one forgets it all: tracking is disabled."""

    run_id: str | None = None
    model_id: str | None = None
    version: str | None = None  # of the registered model, once one is logged
    uri: str | None = None

    def log_settings(self, settings: Settings) -> None:
        """Settings as parameters (dotted names) and, resolved and whole, as the artifact settings.yaml."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tags, such as `provenance`'s."""

    def log_dataset(self, data: DataSet) -> None:
        """A data set as an input of the run."""

    def log_history(self, history: pa.Table) -> None:
        """Every column of a fit's history as a metric ``fit/<column>``, a step per iteration; NaN is left out."""

    def log_model(self, model_dir: str | Path) -> None:
        """The directory that `save_model` wrote, as a model that loads without Spark; later metrics belong to it."""

    def log_metrics(self, metrics: Mapping[str, float], data: DataSet | None = None) -> None:
        """Final metrics of the run and its model, measured on `data`; NaN is left out."""

    def log_directory(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """All files of a local directory as artifacts."""

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """A table to read: {name}.json, which the UI shows as a table, and {name}.md."""

    def log_text(self, text: str, name: str) -> None:
        """A text as the artifact `name`."""

    def log_child(self, child: Child) -> None:
        """A finished run nested in this one; NaN is left out."""


@contextlib.contextmanager
def track(settings: Settings, name: str, *, run_id: str | None = None) -> Iterator[Tracker]:
    """A run of `settings.tracking`'s experiment, started here or, with `run_id`, taken up again.

    The run ends with the block: FINISHED, or FAILED where the block raises. The store is `tracking.uri`, else
    MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; artifacts of a new experiment in SQLite lie in mlruns beside the
    file. `name` says in a tag what the run is about. Nothing is printed on stdout.

    What a store that is locked or out of reach does not take is kept in `tracking.pending` (a warning says where) and
    told by `jobs/replay.py` later; `run_id` is then one that this function takes as well.

    Raises
    ------
    EnvironmentProblem
        mlflow is not installed, or the store says no (no such run, experiment or kind of store, no permission): before
        the block is entered.
    """
    if not settings.tracking.enabled:
        yield Tracker()
        return
    with quiet():
        from recsys_spark.tracking.enduring import open_enduring
    with open_enduring(settings, name, run_id) as tracker:
        yield tracker


def open_registry(settings: Settings, name: str) -> Registry:
    """The versions of a registered model in the store that `track` uses.

    Raises
    ------
    ConfigError
        Tracking is disabled.
    EnvironmentProblem
        mlflow is not installed, or the store cannot be used.
    """
    _check_enabled(settings, f"the registered model {name!r}")
    with quiet():
        from recsys_spark.tracking.registry import Registry
    return Registry(settings, name)


def fetch_model(settings: Settings, uri: str) -> tuple[FittedModel, dict[str, str]]:
    """A registered model and what is known of it; see `registry.fetch`. Errors as `open_registry`."""
    _check_enabled(settings, uri)
    with quiet():
        from recsys_spark.tracking.registry import fetch
    return fetch(settings, uri)


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(time.time() * 1000)


def first_line(problem: BaseException) -> str:
    """What an error says first, or its class where it says nothing."""
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__


def _check_enabled(settings: Settings, what: str) -> None:
    if not settings.tracking.enabled:
        raise ConfigError(f"{what} lies in MLflow's registry, and tracking is off: set tracking.enabled=true")
