"""Stores of MLflow that are locked or out of reach: training goes on, the record is kept, and told once, later."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy

from recsys_spark.als.model_io import save_model
from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.run import Child, Tracker, track
from tests.model_factory import random_history, random_model

mlflow = pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from recsys_spark.tracking.datasets import DataSet  # noqa: E402
from recsys_spark.tracking.enduring import EnduringTracker  # noqa: E402
from recsys_spark.tracking.journal import Journal  # noqa: E402
from recsys_spark.tracking.replay import replay  # noqa: E402
from recsys_spark.tracking.store import MlflowTracker  # noqa: E402

NOWHERE = "http://127.0.0.1:9"
DATA = DataSet("tiny.test", "/lake/tiny/split", "digest", "user BIGINT NOT NULL,rating FLOAT", 20, "test")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that works, made once: creating its tables takes seconds."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    mlflow.MlflowClient(tracking_uri=uri).search_experiments()
    return uri


@pytest.fixture
def settings_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Settings]]:
    """Settings with a store's URI; every test has an experiment and a folder of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/curve.png").write_bytes(b"png")
    save_model(random_model(), tmp_path / "model")
    yield lambda uri: Settings(
        dataset="tiny",
        tracking={"uri": uri, "experiment": tmp_path.name, "pending": str(tmp_path / "pending")},
        train={"rank": 5},
    )
    assert mlflow.active_run() is None


def train(tracker: Tracker, settings: Settings, folder: Path) -> None:
    tracker.log_settings(settings)
    tracker.log_tags({"git.commit": "abc"})
    tracker.log_history(random_history(3))
    tracker.log_model(folder / "model")


def evaluate(tracker: Tracker, folder: Path) -> None:
    tracker.log_dataset(DATA)
    tracker.log_metrics({"rmse": 0.82, "undefined": float("nan")}, DATA)
    tracker.log_directory(folder / "figures", "figures")
    tracker.log_table(pd.DataFrame({"title": ["A"], "score": [4.25]}), "sample")
    tracker.log_text("é", "notes.txt")
    tracker.log_child(Child("trial 0", {"rank": 5}, {"value": 0.5}, {"rmse": [0.6, float("nan"), 0.5]}))


def shown(uri: str, run_id: str) -> dict[str, Any]:
    """All that the store has of a run, without ids and times."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(run_id)

    def files(folder: str = "") -> list[str]:
        found = client.list_artifacts(run_id, folder)
        return [name for f in found for name in (files(f.path) if f.is_dir else [f.path])]

    nested = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    (output,) = run.outputs.model_outputs
    texts = [Path(client.download_artifacts(run_id, n)).read_text() for n in ("sample.json", "sample.md", "notes.txt")]
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": {k: v for k, v in run.data.tags.items() if not k.startswith(("mlflow.", "recsys_spark."))},
        "history": {k: [(m.step, m.value) for m in client.get_metric_history(run_id, k)] for k in run.data.metrics},
        "inputs": [(i.dataset.name, i.dataset.digest, [t.value for t in i.tags]) for i in run.inputs.dataset_inputs],
        "model metrics": [(m.key, m.value) for m in client.get_logged_model(output.model_id).metrics],
        "files": sorted(files()),
        "nested": [(n.info.run_name, n.info.status, n.data.params, n.data.metrics) for n in nested],
        "texts": texts,
    }


@pytest.fixture
def undisturbed(store: str, settings_for: Callable[[str], Settings], tmp_path: Path) -> dict[str, Any]:
    """What a run shows that the store took at once."""
    settings = settings_for(store)
    with track(settings, "train") as tracker:
        train(tracker, settings, tmp_path)
        run_id = str(tracker.run_id)
    with track(settings, "train", run_id=run_id) as tracker:
        evaluate(tracker, tmp_path)
    return shown(store, run_id)


def test_every_call_is_passed_on_and_can_be_kept() -> None:
    calls = {name for name in vars(Tracker) if name.startswith("log_")}
    for kind in (MlflowTracker, EnduringTracker, Journal):
        assert calls <= set(vars(kind)), f"{kind.__name__} drops what it inherits"


def test_a_record_that_no_store_took_is_told_later_by_pieces_and_once(
    store: str,
    settings_for: Callable[[str], Settings],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    settings = settings_for(NOWHERE)
    with track(settings, "train") as tracker:
        train(tracker, settings, tmp_path)
        record = str(tracker.run_id)
    assert record.startswith("pending-")
    assert f"it is kept in {tmp_path}/pending/{record}; jobs/replay.py tells it later" in caplog.text
    with track(settings, "train", run_id=record) as tracker:
        assert tracker.run_id == record
        evaluate(tracker, tmp_path)

    with pytest.raises(EnvironmentProblem, match=f"cannot use the MLflow store {NOWHERE}"):
        replay(settings)

    # Interrupted after every single call, just before it is known to have been made: each is made twice.
    interrupted: set[Path] = set()
    done = Journal.done

    def interrupt_once(self: Journal, files: Path) -> None:
        if files not in interrupted:
            interrupted.add(files)
            raise KeyboardInterrupt
        done(self, files)

    monkeypatch.setattr(Journal, "done", interrupt_once)
    working, runs = settings_for(store), {}
    while not runs:
        try:
            runs = replay(working)
        except KeyboardInterrupt:
            assert list((tmp_path / "pending").iterdir())
    assert len(interrupted) == 10
    assert shown(store, runs[record]) == undisturbed
    assert list((tmp_path / "pending").iterdir()) == []
    assert replay(working) == {}
    with track(working, "train", run_id=record) as tracker:
        assert tracker.run_id == runs[record], "a later step finds the run by the record it was told from"


@pytest.fixture
def hasty() -> Iterator[None]:
    """MLflow waits 20 s for a lock of SQLite; here, a tenth of a second."""

    def hurry(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", hurry, retval=True)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", hurry)


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_store_that_another_process_has_locked(
    store: str,
    settings_for: Callable[[str], Settings],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    hasty: None,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    settings = settings_for(store)
    lock = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)
    if when == "before":
        lock.execute("BEGIN IMMEDIATE")
    with track(settings, "train") as tracker:
        if when == "within":
            tracker.log_settings(settings)
            lock.execute("BEGIN IMMEDIATE")
        train(tracker, settings, tmp_path)
        run_id = str(tracker.run_id)
    assert "database is locked" in caplog.text
    assert run_id.startswith("pending-") == (when == "before")
    lock.execute("ROLLBACK")
    with track(settings, "train", run_id=run_id) as tracker:  # the store is back, and what came first is not there yet
        evaluate(tracker, tmp_path)
    runs = replay(settings)
    assert list(runs) == [run_id]
    assert shown(store, runs[run_id]) == undisturbed


def test_a_training_that_fails_meanwhile_is_a_failed_run(
    store: str, settings_for: Callable[[str], Settings], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="as it was"), track(settings_for(NOWHERE), "train"):
        raise OSError("as it was")
    ((_, run_id),) = replay(settings_for(store)).items()
    run = mlflow.MlflowClient(tracking_uri=store).get_run(run_id)
    about = run.info
    assert about.status == "FAILED"
    assert about.start_time <= about.end_time


def test_two_replays_at_once(store: str, settings_for: Callable[[str], Settings], tmp_path: Path) -> None:
    with track(settings_for(NOWHERE), "train") as tracker:
        record = str(tracker.run_id)
    other = Journal(tmp_path / "pending", record, {})
    with pytest.raises(EnvironmentProblem, match=f"another process works on {tmp_path}/pending/{record}"):
        replay(settings_for(store))
    other.close()
    assert list(replay(settings_for(store))) == [record]


def test_a_record_of_another_release_holds_up_no_other(
    store: str, settings_for: Callable[[str], Settings], tmp_path: Path
) -> None:
    with track(settings_for(NOWHERE), "train") as tracker:
        tracker.log_text("x", "x.txt")
        file = tmp_path / "pending" / str(tracker.run_id) / "00001.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "method": "log_smell"}))
    with track(settings_for(NOWHERE), "train"):
        pass
    with pytest.raises(EnvironmentProblem, match=r"00001.json is of another release: it has the call 'log_smell'"):
        replay(settings_for(store))
    assert list((tmp_path / "pending").iterdir()) == [file.parent]
