"""Runs in a temporary SQLite store: what is logged can be read back through MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from recsys_spark.als.model_io import save_model
from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.run import Tracker, track
from tests.model_factory import random_history, random_model

mlflow = pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from recsys_spark.tracking.datasets import DataSet, schema_of_ddl  # noqa: E402
from recsys_spark.tracking.store import artifact_location  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def data(context: str, rows: int = 20) -> DataSet:
    ddl = "user BIGINT NOT NULL,item BIGINT,rating FLOAT,timestamp TIMESTAMP,genres ARRAY<STRING>"
    return DataSet(f"tiny.{context}", f"/lake/tiny/split/{context}", f"digest-{context}", ddl, rows, context)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with an SQLite store, made once: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    yield Settings(dataset="tiny", tracking={"uri": f"sqlite:///{folder}/store/mlflow.db", "experiment": "tests"})
    assert mlflow.active_run() is None


@pytest.fixture(scope="module")
def logged(folder: Path) -> tuple[str, str]:
    """A run in which everything was logged, by two steps: (run id, store)."""
    (folder / "store").mkdir()
    uri = f"sqlite:///{folder}/store/mlflow.db"
    tracking = {"uri": uri, "experiment": "tests", "run_name": "first", "register": "tiny-model"}
    tracking["register_as"] = tracking.pop("register")
    settings = Settings(dataset="tiny", tracking=tracking, train={"rank": 5})
    save_model(random_model(), folder / "saved")
    (folder / "report").mkdir()
    (folder / "report" / "curve.png").write_bytes(b"png")
    with track(settings, "train") as tracker:
        run_id = tracker.run_id
        tracker.log_settings(settings)
        tracker.log_tags({f"many.{n}": str(n) for n in range(150)})
        for context in ("training", "validation"):
            tracker.log_dataset(data(context))
        tracker.log_history(random_history(3))
        tracker.log_model(folder / "saved")
    with track(settings, "evaluate", run_id=run_id) as tracker:
        assert tracker.run_id == run_id
        tracker.log_metrics({"rmse": 0.82, "mae": 0.6, "undefined": math.nan}, data("test", 7))
        tracker.log_directory(folder / "report", "figures")
        for score in (1.5, 4.25):
            tracker.log_table(pd.DataFrame({"title": ["A|B"], "score": [score]}), "sample_recommendations")
        tracker.log_text('{"rmse": 0.82}', "metrics.json")
    assert run_id is not None
    return run_id, uri


@pytest.fixture
def run(logged: tuple[str, str], settings: Settings) -> object:
    return mlflow.MlflowClient(logged[1]).get_run(logged[0])


def text_of(logged: tuple[str, str], name: str) -> str:
    return Path(mlflow.MlflowClient(logged[1]).download_artifacts(logged[0], name)).read_text(encoding="utf-8")


def test_run_has_its_name_experiment_tags_and_end(logged, run) -> None:  # type: ignore[no-untyped-def]
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.tags["job"] == "train"
    assert run.data.tags["dataset"] == "tiny"
    assert run.data.tags["many.149"] == "149"
    assert mlflow.MlflowClient(logged[1]).get_experiment(run.info.experiment_id).name == "tests"


def test_settings_are_parameters_and_an_artifact(logged, run) -> None:  # type: ignore[no-untyped-def]
    assert run.data.params["dataset"] == "tiny"
    assert run.data.params["train.rank"] == "5"
    assert run.data.params["train.item.reg_features"] == "40.0"
    assert json.loads(run.data.params["features.item"])[0]["name"] == "genre"
    stored = yaml.safe_load(text_of(logged, "settings.yaml"))
    assert stored["train"]["rank"] == 5
    assert Settings.model_validate(stored).dataset == "tiny"


def test_history_is_a_curve_per_column_without_nan(logged, run) -> None:  # type: ignore[no-untyped-def]
    client = mlflow.MlflowClient(logged[1])
    history = random_history(3)
    for name in history.column_names[1:]:
        curve = {point.step: point.value for point in client.get_metric_history(logged[0], f"fit/{name}")}
        rows = zip(history["iteration"].to_pylist(), history[name].to_pylist(), strict=True)
        assert curve == {step: value for step, value in rows if not math.isnan(value)}
    assert "fit/iteration" not in run.data.metrics


def test_data_sets_are_inputs_with_digest_schema_rows_and_context(run) -> None:  # type: ignore[no-untyped-def]
    inputs = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "test"}
    training = inputs["training"]
    assert (training.name, training.digest) == ("tiny.training", "digest-training")
    assert json.loads(training.source) == {"path": "/lake/tiny/split/training"}
    assert json.loads(training.profile) == {"num_rows": 20}
    columns = json.loads(training.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns][:3] == [
        ("user", "long"),
        ("item", "long"),
        ("rating", "float"),
    ]


def test_final_metrics_belong_to_the_run_the_model_and_the_test_data(logged, run) -> None:  # type: ignore[no-untyped-def]
    assert run.data.metrics["rmse"] == 0.82
    assert "undefined" not in run.data.metrics
    (output,) = run.outputs.model_outputs
    model = mlflow.MlflowClient(logged[1]).get_logged_model(output.model_id)
    assert {(m.key, m.value, m.dataset_name, m.dataset_digest) for m in model.metrics} == {
        ("rmse", 0.82, "tiny.test", "digest-test"),
        ("mae", 0.6, "tiny.test", "digest-test"),
    }
    assert model.name == "model"
    assert model.params["rank"] == "5"


def test_artifacts(logged, run) -> None:  # type: ignore[no-untyped-def]
    client = mlflow.MlflowClient(logged[1])
    assert [file.path for file in client.list_artifacts(logged[0], "figures")] == ["figures/curve.png"]
    assert text_of(logged, "sample_recommendations.md").splitlines()[2] == "| A\\|B | 4.250 |"
    table = json.loads(text_of(logged, "sample_recommendations.json"))
    assert table == {"columns": ["title", "score"], "data": [["A|B", 4.25]]}
    assert json.loads(text_of(logged, "metrics.json")) == {"rmse": 0.82}
    assert "/store/mlruns/tests/" in run.info.artifact_uri


def test_model_is_registered(logged, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    (version,) = mlflow.MlflowClient(logged[1]).search_model_versions("name='tiny-model'")
    assert version.run_id == logged[0]


def test_model_loads_and_scores_where_there_is_neither_spark_nor_this_checkout(logged, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "py4j"):
            raise ImportError(name + " must not be needed")
sys.meta_path.insert(0, Refuse())
sys.path = [entry for entry in sys.path if entry not in ("", {str(ROOT)!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
import mlflow, pandas as pd
mlflow.set_tracking_uri({logged[1]!r})
model = mlflow.pyfunc.load_model("models:/{run.outputs.model_outputs[0].model_id}")
import recsys_spark
assert not recsys_spark.__file__.startswith({str(ROOT)!r}), recsys_spark.__file__
pairs = model.predict(pd.DataFrame({{"user": [100, 1], "item": [7, 9]}}))
best = model.predict(pd.DataFrame({{"user": [103]}}), params={{"n": 2}})
assert "pyspark" not in sys.modules
print(pairs["prediction"].tolist(), best["item"].tolist())
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    model = random_model()
    predictions = model.predict(pa.array([100, 1]), pa.array([7, 9]))
    items = model.item.ids.take(pa.array(model.top_n(pa.array([103]), 2)[0][0]))
    assert done.stdout.splitlines()[-1] == f"{[float(p) for p in predictions]} {items.to_pylist()}"


def test_nothing_in_the_logged_model_is_pickled(logged, run) -> None:  # type: ignore[no-untyped-def]
    model_id = run.outputs.model_outputs[0].model_id
    location = mlflow.MlflowClient(logged[1]).get_logged_model(model_id).artifact_location
    local = Path(mlflow.artifacts.download_artifacts(location))
    names = [str(path.relative_to(local)) for path in local.rglob("*")]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc", ".joblib"))]
    assert "code/recsys_spark/als/model_io.py" in names
    requirements = (local / "requirements.txt").read_text()
    assert "pyspark" not in requirements
    assert f"numpy=={np.__version__}" in requirements


def test_a_failing_block_leaves_a_failed_run_and_raises(logged, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    ids = []

    def fail_inside() -> None:
        with track(settings, "train") as tracker:
            ids.append(tracker.run_id)
            raise RuntimeError("as it was")

    with pytest.raises(RuntimeError, match="as it was"):
        fail_inside()
    assert mlflow.MlflowClient(logged[1]).get_run(ids[0]).info.status == "FAILED"


def test_stdout_stays_empty_and_mlflow_as_it_was(logged, settings: Settings, capfd) -> None:  # type: ignore[no-untyped-def]
    print("before")
    with track(settings, "train") as tracker:
        tracker.log_text("x", "x.txt")
        print("inside")
    assert capfd.readouterr().out == "before\ninside\n"
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
    assert mlflow.get_tracking_uri() != settings.tracking.uri


@pytest.mark.parametrize("chosen", ["settings", "environment"])
def test_the_store_is_the_settings_s_then_the_environment_s(
    logged,  # type: ignore[no-untyped-def]
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
) -> None:
    tracking = settings.tracking
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged[1] if chosen == "environment" else "http://127.0.0.1:9")
    update = {"uri": tracking.uri if chosen == "settings" else None}
    with track(settings.model_copy(update={"tracking": tracking.model_copy(update=update)}), "train") as tracker:
        assert tracker.uri == logged[1]
        assert mlflow.MlflowClient(logged[1]).get_run(tracker.run_id).info.status == "RUNNING"
    assert os.environ["MLFLOW_TRACKING_URI"] == (logged[1] if chosen == "environment" else "http://127.0.0.1:9")


def test_disabled_tracking_does_nothing_and_does_not_import_mlflow(tmp_path: Path) -> None:
    program = """
import sys
from recsys_spark.config import Settings
from recsys_spark.tracking.run import Tracker, track
settings = Settings(tracking={"enabled": False})
with track(settings, "train") as tracker:
    assert type(tracker) is Tracker and tracker.run_id is None
    tracker.log_settings(settings)
    tracker.log_metrics({"rmse": 1.0})
assert "mlflow" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert list(tmp_path.iterdir()) == []


def test_the_silent_tracker_has_every_method_of_the_other() -> None:
    from recsys_spark.tracking.store import MlflowTracker

    public = {name for name in vars(MlflowTracker) if not name.startswith("_")}
    assert public == {name for name in vars(Tracker) if name.startswith("log_")}


def with_uri(settings: Settings, uri: str, **others: str) -> Settings:
    tracking = settings.tracking.model_copy(update={"uri": uri, **others})
    return settings.model_copy(update={"tracking": tracking})


@pytest.mark.parametrize("uri", ["nonsense://x", "mssql://nobody@127.0.0.1:9/x"])
def test_a_store_that_cannot_be_used_is_said_before_the_work(settings: Settings, uri: str) -> None:
    words = rf"cannot use the MLflow store {uri}: .* turn tracking off with --set tracking.enabled=false"
    with pytest.raises(EnvironmentProblem, match=words), track(with_uri(settings, uri), "train"):
        pytest.fail("the block was entered")


def test_a_run_that_is_not_there(logged, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    with (
        pytest.raises(EnvironmentProblem, match=r"cannot use the MLflow store .*'?0123456789abcdef"),
        track(settings, "evaluate", run_id="0123456789abcdef0123456789abcdef"),
    ):
        pytest.fail("the block was entered")


def test_a_deleted_experiment(logged, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    client = mlflow.MlflowClient(logged[1])
    client.delete_experiment(client.create_experiment("gone", artifact_location="file:///nowhere"))
    changed = with_uri(settings, logged[1], experiment="gone")
    with pytest.raises(EnvironmentProblem, match=r"experiment 'gone' in .* has been deleted"), track(changed, "train"):
        pytest.fail("the block was entered")


def test_without_mlflow_the_error_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["mlflow"] = None
from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.run import track
try:
    with track(Settings(), "train"):
        pass
except EnvironmentProblem as problem:
    assert "pip install 'recsys-spark[tracking]'" in str(problem), problem
else:
    raise SystemExit("no error")
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_artifacts_lie_beside_an_sqlite_file_and_where_a_server_says(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert artifact_location("sqlite:///mlflow.db", "a/b c") == f"file://{tmp_path}/mlruns/a-b-c"
    assert artifact_location("sqlite:////data/x.db", "e") == "file:///data/mlruns/e"
    assert artifact_location("http://server:5000", "e") is None


@pytest.mark.parametrize(
    ("ddl", "types"),
    [
        ("user BIGINT,item INT,rating FLOAT,`odd name` DOUBLE", ["long", "integer", "float", "double"]),
        ("a STRING COMMENT 'b, c',d DATE NOT NULL", ["string", "datetime"]),
        ("a DECIMAL(10,2),b STRUCT<x: INT, y: INT>,c BINARY", ["any", "any", "binary"]),
        ("a ARRAY<INT>,b ARRAY<ARRAY<FLOAT>>", ["array", "array"]),
        ("`a, b` STRUCT<x: INT, y: ARRAY<INT>> NOT NULL, c SMALLINT", ["any", "integer"]),
    ],
)
def test_ddl_becomes_mlflow_s_schema(ddl: str, types: list[str]) -> None:
    assert [column["type"] for column in schema_of_ddl(ddl).to_dict()] == types
