"""Starting measured processes: their environment, and what is said when one fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark_factory import make_spec, phases
from recsys_spark.benchmark import launch
from recsys_spark.benchmark.memory import process_tree
from recsys_spark.benchmark.spec import FitOrder, Outcome
from recsys_spark.errors import EnvironmentProblem


def python(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let a script stand for the Python that measured processes run on."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(script))


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
    outcome = Outcome(session=1.0, phases=phases((0, 2.0)))
    python(tmp_path, monkeypatch, f"print('chatter'); print({outcome.model_dump_json()!r})")
    assert launch.measure(make_spec(), interval=0.05, kernels="k").outcome == outcome


def test_a_failure_ends_in_the_process_s_own_words(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "print('out of heap', file=sys.stderr); sys.exit(3)")
    with pytest.raises(
        EnvironmentProblem, match=r"BlockALS ended with code 3; .*driver_memory \(1g\)(.|\n)*out of heap"
    ):
        launch.measure(make_spec(), interval=0.05, kernels="k")


def test_a_process_that_says_nothing_has_failed(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "pass")
    with pytest.raises(EnvironmentProblem, match="ended with code 0"):
        launch.measure(make_spec(), interval=0.05, kernels="k")


def test_nothing_outlives_an_interrupt(tmp_path, monkeypatch):
    python(tmp_path, monkeypatch, "import time; time.sleep(60)")
    started = []

    def interrupted(process: subprocess.Popen) -> None:
        started.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch.measure(make_spec(), interval=0.05, kernels="k")
    assert process_tree(started[0]) == []


def test_specs_travel_as_json():
    spec = make_spec(fits=[FitOrder(max_iter=1), FitOrder(max_iter=0, source="derived")])
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
