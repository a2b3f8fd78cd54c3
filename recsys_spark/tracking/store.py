"""The tracker that writes to MLflow, and how it finds its store; driver only."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from typing_extensions import override

from recsys_spark.config import Settings, dataset_slug
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.redact import redact, redact_tree
from recsys_spark.tracking.quiet import quiet
from recsys_spark.tracking.run import Child, Tracker, first_line, now_ms
from recsys_spark.tracking.text import flatten, markdown

try:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
    from sqlalchemy.exc import OperationalError, SQLAlchemyError
except ModuleNotFoundError as missing:
    raise EnvironmentProblem(
        f"tracking needs mlflow ({missing}): pip install 'recsys-spark[tracking]', or turn it off with "
        "--set tracking.enabled=false"
    ) from missing

from recsys_spark.tracking.datasets import DataSet, ProfiledDataset
from recsys_spark.tracking.models import context_tags, log_model

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DEFAULT_URI = "sqlite:///mlflow.db"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
PARAM_SECTIONS = ("split", "features", "blocks", "train", "evaluate")
HISTORY = "fit"  # MLflow draws metrics of one prefix in a section of their own: the curves stay together
BATCH = 100  # parameters or tags that a store takes in one request
METRICS_BATCH = 1000
RECORD_TAG = "recsys_spark.record"  # of a run that was told from a journal: the journal's id
OUTAGES = (MlflowException, SQLAlchemyError, OSError)
# Codes of a store that answers, and says no: to wait for it would not help.
REFUSALS = frozenset(
    {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED", "BAD_REQUEST"}
)


class MlflowTracker(Tracker):
    """Writes to one run, which is MLflow's active run while `open_run` lasts."""

    def __init__(
        self, client: mlflow.MlflowClient, uri: str, run_id: str, model_id: str | None, register_as: str | None
    ):
        self._client, self.uri, self.run_id, self.model_id = client, uri, run_id, model_id
        self._register_as = register_as
        self.now: Callable[[], int] = now_ms  # ms since 1970; a record that is told later has times of its own

    @override
    def log_settings(self, settings: Settings) -> None:
        tree = redact_tree(settings.model_dump(mode="json"))
        params = _params({"dataset": tree["dataset"], **{section: tree[section] for section in PARAM_SECTIONS}})
        with quiet():
            for batch in _batches(params, BATCH):
                self._client.log_batch(self.run_id, params=batch)
            text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
            self._client.log_text(self.run_id, text, "settings.yaml")

    @override
    def log_tags(self, tags: Mapping[str, str]) -> None:
        with quiet():
            for batch in _batches([RunTag(key, redact(value)) for key, value in tags.items()], BATCH):
                self._client.log_batch(self.run_id, tags=batch)

    @override
    def log_dataset(self, data: DataSet) -> None:
        with quiet():
            mlflow.log_input(ProfiledDataset(data), context=data.context)

    @override
    def log_history(self, history: pa.Table) -> None:
        now, metrics = self.now(), []
        for row in history.to_pylist():
            step = row.pop("iteration")
            metrics += [
                Metric(f"{HISTORY}/{key}", value, now, step) for key, value in row.items() if math.isfinite(value)
            ]
        with quiet():
            for batch in _batches(metrics, METRICS_BATCH):
                self._client.log_batch(self.run_id, metrics=batch)

    @override
    def log_model(self, model_dir: str | Path) -> None:
        with quiet():
            self.model_id, self.version = log_model(model_dir, self._register_as)

    @override
    def log_metrics(self, metrics: Mapping[str, float], data: DataSet | None = None) -> None:
        known = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        dataset = None if data is None else ProfiledDataset(data)
        if data is not None:
            self.log_dataset(data)  # MLflow would do it without the context
        with quiet():
            mlflow.log_metrics(known, run_id=self.run_id, model_id=self.model_id, dataset=dataset, timestamp=self.now())

    @override
    def log_directory(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        with quiet():
            self._client.log_artifacts(self.run_id, str(local_dir), artifact_path)

    @override
    def log_table(self, table: pd.DataFrame, name: str) -> None:
        with quiet():
            self._client.log_table(self.run_id, table, f"{name}.json")
            # Which has added the rows to those of a table of that name: here the last one counts.
            rows = table.to_json(orient="split", index=False, date_format="iso")
            self._client.log_text(self.run_id, rows, f"{name}.json")
            self._client.log_text(self.run_id, markdown(table), f"{name}.md")

    @override
    def log_text(self, text: str, name: str) -> None:
        with quiet():
            self._client.log_text(self.run_id, text, name)

    @override
    def log_child(self, child: Child) -> None:
        now, tags = self.now(), {MLFLOW_PARENT_RUN_ID: self.run_id}
        values = [Metric(key, value, now, 0) for key, value in child.metrics.items() if math.isfinite(value)]
        for key, curve in child.curves.items():
            values += [Metric(key, value, now, step) for step, value in enumerate(curve, 1) if math.isfinite(value)]
        with quiet():
            parent = self._client.get_run(self.run_id)
            run = self._client.create_run(parent.info.experiment_id, tags=tags, run_name=child.name).info
            for batch in _batches(_params(redact_tree(child.params)), BATCH):
                self._client.log_batch(run.run_id, params=batch)
            for batch in _batches(values, METRICS_BATCH):
                self._client.log_batch(run.run_id, metrics=batch)
            self._client.set_terminated(run.run_id)


def store_uri(settings: Settings) -> str:
    """The store in use: `tracking.uri`, else MLFLOW_TRACKING_URI, else SQLite in the working directory."""
    return settings.tracking.uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI


@contextlib.contextmanager
def open_run(settings: Settings, name: str, run_id: str | None) -> Iterator[MlflowTracker]:
    """`track` with tracking enabled; afterwards MLflow's tracking URI is what it was."""
    tracking, uri = settings.tracking, store_uri(settings)
    with _tracking_uri(uri):
        with explained(uri), quiet():
            client = mlflow.MlflowClient(tracking_uri=uri)
            if run_id is None:
                tags = context_tags() | {"job": name, "dataset": dataset_slug(settings.dataset)}
                experiment = experiment_id(client, tracking.experiment, uri)
                run = mlflow.start_run(experiment_id=experiment, run_name=tracking.run_name, tags=tags)
            else:
                run = mlflow.start_run(run_id=run_id)
        outputs = run.outputs.model_outputs if run.outputs is not None else []
        model_id = outputs[-1].model_id if outputs else None
        status = "FAILED"
        try:
            yield MlflowTracker(client, uri, run.info.run_id, model_id, tracking.register_as)
            status = "FINISHED"
        finally:
            with quiet():
                mlflow.end_run(status)


def experiment_id(client: mlflow.MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment, made where there is none; EnvironmentProblem where it has been deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(uri, name)))
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        raise EnvironmentProblem(
            f"the experiment {name!r} in {redact(uri)} has been deleted: restore it (mlflow experiments restore) or "
            "choose another name with --set tracking.experiment=NAME"
        )
    return str(found.experiment_id)


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where artifacts of a new experiment go: beside a SQLite file; None, the server's choice, for any other store."""
    if not uri.startswith("sqlite:///"):
        return None
    folder = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in experiment)
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlruns" / folder).as_uri()


@contextlib.contextmanager
def _tracking_uri(uri: str) -> Iterator[None]:
    """Use a store inside; MLflow's own setter also writes the environment variable, and neither outlives the block."""
    variable = os.environ.get(URI_VARIABLE)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None if before == variable else before)
        if variable is not None:
            os.environ[URI_VARIABLE] = variable


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what a store that cannot be used raises into one sentence, soon."""
    try:
        with few_retries():
            yield
    except (*OUTAGES, ImportError) as problem:
        raise EnvironmentProblem(
            f"cannot use the MLflow store {redact(uri)}: {redact(first_line(problem))}; start it, choose another with "
            "--set tracking.uri=URI or MLFLOW_TRACKING_URI, or turn tracking off with --set tracking.enabled=false"
        ) from problem


def is_outage(problem: BaseException | None) -> bool:
    """Whether a store that raised this may take the same call later."""
    if isinstance(problem, MlflowException):
        return problem.error_code not in REFUSALS
    return isinstance(problem, (OperationalError, OSError))


def replayed(settings: Settings, record: str) -> str | None:
    """The run that a journal was told to, if there is one."""
    with few_retries(), quiet():
        client = mlflow.MlflowClient(tracking_uri=store_uri(settings))
        experiment = client.get_experiment_by_name(settings.tracking.experiment)
        if experiment is None:
            return None
        found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`{RECORD_TAG}` = '{record}'")
    return str(found[0].info.run_id) if found else None


@contextlib.contextmanager
def few_retries() -> Iterator[None]:
    """One retry of a request in place of MLflow's seven, unless the environment says how many: they take minutes."""
    key = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    patient = key in os.environ
    os.environ.setdefault(key, "1")
    try:
        yield
    finally:
        if not patient:
            os.environ.pop(key, None)


def _params(tree: Mapping[str, Any]) -> list[Param]:
    return [Param(key, text) for key, text in flatten(tree).items()]


def _batches(entries: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])
