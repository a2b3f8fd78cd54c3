"""Starting measured processes: their environment, and what is said when one fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark_factory import judged, make_spec, phase
from recsys_spark.benchmark import launch
from recsys_spark.benchmark.memory import Sample, process_tree
from recsys_spark.benchmark.spec import FitOrder, Outcome
from recsys_spark.errors import EnvironmentProblem

ROOT = Path(__file__).resolve().parents[2]


def python(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let a script stand for the Python that measured processes run on."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(script))


def test_a_session_is_local_or_a_cluster_of_executors():
    assert launch.master(make_spec()) == "local[2]"
    assert launch.master(make_spec().model_copy(update={"executors": 3})) == "local-cluster[3,2,1024]"


def test_environment():
    inherited = {
        "PATH": "/bin",
        "PYTHONPATH": "/else/where",
        "SPARK_REMOTE": "sc://host",
        "SPARK_DRIVER_MEMORY": "9g",
        "PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell",
        "PYSPARK_GATEWAY_PORT": "1",
    }
    found = launch.environment(make_spec(), inherited, "/kernels")
    assert found["PYSPARK_SUBMIT_ARGS"] == "--master local[2] --driver-memory 1g pyspark-shell"
    assert found["NUMBA_CACHE_DIR"] == "/kernels"
    assert found["PATH"] == "/bin"
    assert found["PYTHONPATH"].endswith(":/else/where")
    assert (Path(found["PYTHONPATH"].split(":")[0]) / "recsys_spark").is_dir()
    assert not {"SPARK_REMOTE", "SPARK_DRIVER_MEMORY", "PYSPARK_GATEWAY_PORT"} & found.keys()


def test_the_last_line_is_the_outcome(tmp_path, monkeypatch):
    outcome = Outcome(session=1.0, phases=(phase(0, 2.0),))
    python(tmp_path, monkeypatch, f"print('chatter'); print({outcome.model_dump_json()!r})")
    assert launch.measure(make_spec(), interval=0.05, kernels="k").outcome == outcome


def test_a_failure_ends_in_the_process_s_own_words(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "print('out of heap', file=sys.stderr); sys.exit(3)")
    with pytest.raises(
        EnvironmentProblem, match=r"blockals_features ended with code 3; .*driver_memory \(1g\)(.|\n)*out of heap"
    ):
        launch.measure(make_spec(), interval=0.05, kernels="k")


def test_a_process_that_says_nothing_has_failed(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "pass")
    with pytest.raises(EnvironmentProblem, match="ended with code 0"):
        launch.measure(make_spec(), interval=0.05, kernels="k")


def test_nothing_outlives_an_interrupt(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "import time; time.sleep(60)")
    started = []

    def interrupted(process: subprocess.Popen, timeout: float | None) -> None:
        started.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch.measure(make_spec(), interval=0.05, kernels="k")
    assert process_tree(started[0]) == []


def test_what_takes_too_long_is_ended(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "import time; print('collecting', file=sys.stderr, flush=True); time.sleep(60)")
    with pytest.raises(launch.ContenderFailed, match=r"was ended after 1 s(.|\n)*collecting"):
        launch.measure(make_spec(), interval=0.05, kernels="k", timeout=1.0)


def test_memory_is_that_of_fits_of_parquet_that_all_contenders_have():
    points = (judged(3, 9.0, 0.9), judged(5, 5.0, 0.9).model_copy(update={"start": 130.0, "end": 140.0}))
    fits = (phase(0, 9.0), phase(0, 5.0, start=120.0, source="derived"), *points)
    samples = [Sample(at, pss) for at, pss in ((99, 9), (100, 2), (108, 3), (121, 7), (135, 4), (1_001, 8))]
    found = launch._measured(make_spec(), Outcome(session=1.0, phases=fits), samples, 20.0)
    assert (found.peak, found.between) == (4, 13)


def test_an_orphan_ends():
    """The process that a killed job leaves behind would disturb whoever is measured next."""
    child = (
        "import os, time; from recsys_spark.benchmark import contender; contender._LOOK = 0.01; "
        "os.setpgid(0, 0); contender.end_with(-1); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", child], cwd=ROOT, timeout=50).returncode == -signal.SIGTERM


def test_specs_travel_as_json():
    spec = make_spec(fits=[FitOrder(max_iter=1), FitOrder(max_iter=0, source="derived")])
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
