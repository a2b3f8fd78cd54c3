"""The session of the jobs and the programs that run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_spark.cli import JobResult, run_job
from recsys_spark.errors import DataError, EnvironmentProblem
from recsys_spark.session import build_session, check_executors

ROOT = Path(__file__).resolve().parents[2]


def test_a_session_has_utc_arrow_and_what_is_asked_for(spark):
    found = build_session("test", {"spark.sql.session.localRelationCacheThreshold": "123456"})
    assert found.sparkContext is spark.sparkContext
    assert found.conf.get("spark.sql.session.timeZone") == "UTC"
    assert found.conf.get("spark.sql.execution.arrow.pyspark.enabled") == "true"
    assert found.conf.get("spark.sql.session.localRelationCacheThreshold") == "123456"


PROBE = """
import sys
from recsys_spark.session import build_session

def loaded(_):
    import gc, sys, zipimport

    quickened = zipimport.zipimporter.invalidate_caches.__module__ == "recsys_spark.worker"
    kept = gc.get_freeze_count() > 0
    yield sys.modules["__main__"].__spec__.name, "recsys_spark.als.stages" in sys.modules, quickened, kept

spark = build_session("test", {"spark.master": "local[1]", "spark.ui.enabled": "false"})
print(spark.sparkContext.parallelize([0], 1).mapPartitions(loaded).collect()[0])
spark.stop()
"""


@pytest.mark.parametrize("found", [True, False])
def test_local_workers_are_born_with_the_engine_where_they_can_find_it(tmp_path, found):
    script = tmp_path / "probe.py"
    script.write_text(PROBE if found else f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROBE}")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "PYTHON"))}
    env |= {"PYTHONPATH": str(ROOT)} if found else {}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=True)
    expected = ("recsys_spark.daemon", True, True, True) if found else ("pyspark.daemon", False, False, False)
    assert done.stdout.strip().splitlines()[-1] == str(expected)


def test_a_session_that_is_stopped_at_once_says_nothing_of_workers_that_were_still_starting():
    script = """
from recsys_spark.session import build_session, stop_session

spark = build_session("test", {"spark.master": "local[2]", "spark.ui.enabled": "false"})
stop_session(spark)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert "ERROR" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("variable", ["SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"])
def test_spark_connect_is_refused_in_a_sentence(monkeypatch, variable):
    monkeypatch.setenv(variable, "sc://localhost")
    with pytest.raises(EnvironmentProblem, match="Spark Connect sessions have no RDDs.*unset SPARK_REMOTE"):
        build_session("test")


def test_local_mode_has_no_executors_to_ask(spark, monkeypatch):
    monkeypatch.setattr(type(spark.sparkContext), "parallelize", lambda *_: pytest.fail("a job ran"))
    check_executors(spark)


def run(spark, capsys, step, *argv):
    code = run_job("probe", step, description="Probe.", argv=list(argv))
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]), err


def test_a_job_gets_session_settings_and_arguments_and_reports(spark, capsys):
    def step(session, settings, args):
        print("a summary")
        return JobResult({"rows": session.range(settings.score.n).count()}, {"where": args.workdir})

    code, line, _ = run(spark, capsys, step, "--set", "score.n=4", "--workdir", "w")
    assert code == 0
    assert {key: line[key] for key in ("job", "status", "metrics", "outputs")} == {
        "job": "probe",
        "status": "ok",
        "metrics": {"rows": 4},
        "outputs": {"where": "w"},
    }
    assert spark.range(1).count() == 1, "the caller's session must outlive the job"


def test_a_problem_the_user_can_mend_is_a_sentence(spark, capsys):
    def step(*_):
        raise DataError("no ratings at x; run jobs/ingest.py first")

    code, line, err = run(spark, capsys, step)
    assert (code, line["status"], line["error"]) == (1, "failed", "no ratings at x; run jobs/ingest.py first")
    assert "probe: no ratings at x" in err
    assert "Traceback" not in err


def test_any_other_failure_has_its_traceback(spark, capsys):
    def step(*_):
        raise ZeroDivisionError("oh")

    code, line, err = run(spark, capsys, step)
    assert (code, line["status"], line["error"]) == (1, "failed", "ZeroDivisionError: oh")
    assert "Traceback" in err


def test_an_interrupt_is_reported(spark, capsys):
    def step(*_):
        raise KeyboardInterrupt

    code, line, _ = run(spark, capsys, step)
    assert (code, line["status"], line["error"]) == (130, "failed", "interrupted")
