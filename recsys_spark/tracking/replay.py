"""Telling MLflow what its store did not take at the time: each record once, however often this is interrupted; driver.

The store knows most calls again by itself (parameters, tags, points of a metric, data sets, files). Those that it would
take twice, a model and a nested run, are looked for before.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.datasets import DataSet
from recsys_spark.tracking.journal import PENDING, TABLE, Journal, journals
from recsys_spark.tracking.quiet import quiet
from recsys_spark.tracking.run import Child
from recsys_spark.tracking.store import (
    RECORD_TAG,
    MlflowTracker,
    experiment_id,
    explained,
    open_run,
    replayed,
    store_uri,
)

log = logging.getLogger(__name__)


def replay(settings: Settings) -> dict[str, str]:
    """Tell the store every record in `tracking.pending`, and remove those it has taken.

    Returns
    -------
    dict
        The run of each record, by the record's id.

    Raises
    ------
    EnvironmentProblem
        The store cannot be used, or another process works on a record: nothing is lost, run it again.
    """
    folder, runs, problem = Path(settings.tracking.pending).expanduser(), {}, None
    for record in journals(folder):
        journal = Journal(folder, record, {})
        try:
            runs[record] = _tell(settings, journal, record)
            journal.remove()
            log.info("told the store the record %s: run %s", record, runs[record])
        except EnvironmentProblem as found:  # the other records do not wait for this one
            log.warning("the record %s still waits: %s", record, found)
            problem = problem or found
        finally:
            journal.close()
    if problem is not None:
        raise problem
    return runs


def _tell(settings: Settings, journal: Journal, record: str) -> str:
    about = journal.about
    changed = {"experiment": about["experiment"], "run_name": about["run_name"]}
    settings = settings.model_copy(update={"tracking": settings.tracking.model_copy(update=changed)})
    run_id = _run_of(settings, journal, record)
    with open_run(settings, about["tags"]["job"], run_id) as tracker:
        for files, entry in journal.entries():
            tracker.now = partial(int, entry["at"])
            _tell_entry(tracker, entry["method"], entry["arguments"], files)
            journal.done(files)
    with quiet():
        client = mlflow.MlflowClient(tracking_uri=store_uri(settings))
        client.set_terminated(run_id, about["status"], about["ended"])
    return run_id


def _run_of(settings: Settings, journal: Journal, record: str) -> str:
    """The run of a record, begun if there is none; EnvironmentProblem where the store cannot be used."""
    if not record.startswith(PENDING):
        return record
    about, uri = journal.about, store_uri(settings)
    with explained(uri), quiet():
        if found := replayed(settings, record):
            return found
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = experiment_id(client, about["experiment"], uri)
        tags = {**about["tags"], RECORD_TAG: record}
        run = client.create_run(experiment, about["began"], tags, about["run_name"])
        return str(run.info.run_id)


def _tell_entry(tracker: MlflowTracker, method: str, arguments: dict[str, Any], files: Path) -> None:
    """Make one call that was written down by `Journal`."""
    data = arguments.get("data")
    dataset = None if data is None else DataSet(**data)
    if method == "log_settings":
        tracker.log_settings(Settings.model_validate(arguments["settings"]))
    elif method == "log_dataset":
        assert dataset is not None  # a journal writes none without
        tracker.log_dataset(dataset)
    elif method == "log_history":
        tracker.log_history(pq.read_table(files / TABLE))
    elif method == "log_model":
        if tracker.model_id is None:
            tracker.log_model(files)
    elif method == "log_metrics":
        tracker.log_metrics(arguments["metrics"], dataset)
    elif method == "log_directory":
        tracker.log_directory(files, arguments["artifact_path"])
    elif method == "log_table":
        tracker.log_table(pq.read_table(files / TABLE).to_pandas(), arguments["name"])
    elif method == "log_child":
        child = Child(**arguments)
        if not _has_child(tracker, child.name):
            tracker.log_child(child)
    elif method in ("log_tags", "log_text"):
        getattr(tracker, method)(**arguments)
    else:
        raise EnvironmentProblem(f"{files}.json is of another release: it has the call {method!r}, unknown here")


def _has_child(tracker: MlflowTracker, name: str) -> bool:
    """Whether a finished run of that name is nested in a run; one that an interruption left unfinished is removed."""
    with quiet():
        client = mlflow.MlflowClient(tracking_uri=tracker.uri)
        experiment = client.get_run(tracker.run_id).info.experiment_id
        nested = client.search_runs([experiment], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{tracker.run_id}'")
        mine = [run.info for run in nested if run.info.run_name == name]
        for info in mine:
            if info.status != "FINISHED":
                client.delete_run(info.run_id)
    return any(info.status == "FINISHED" for info in mine)
