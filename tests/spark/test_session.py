"""The session of the jobs and the programs that run in it."""

from __future__ import annotations

import json

import pytest

from recsys_spark.cli import JobResult, run_job
from recsys_spark.errors import DataError, EnvironmentProblem
from recsys_spark.session import build_session, check_executors


def test_a_session_has_utc_arrow_and_what_is_asked_for(spark):
    found = build_session("test", {"spark.sql.session.localRelationCacheThreshold": "123456"})
    assert found.sparkContext is spark.sparkContext
    assert found.conf.get("spark.sql.session.timeZone") == "UTC"
    assert found.conf.get("spark.sql.execution.arrow.pyspark.enabled") == "true"
    assert found.conf.get("spark.sql.session.localRelationCacheThreshold") == "123456"


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
