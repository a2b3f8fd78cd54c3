"""No secret in logs, errors, results, manifests and settings."""

from __future__ import annotations

import json
import logging

import pytest

from recsys_spark import cli
from recsys_spark.errors import DataError
from recsys_spark.lake.manifest import Manifest
from recsys_spark.redact import RedactingFormatter, redact, redact_tree

SECRET = "s3cr3t/W0rd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s3cr3t@host:5000/x", "http://me:***@host:5000/x"),
        ("postgresql+psycopg2://u:s3/cr3t@db:5432/m, and more", "postgresql+psycopg2://u:***@db:5432/m, and more"),
        ("https://ghp_s3cr3t@github.com/x", "https://***@github.com/x"),
        ("s3a://AKID:s3cr3t@bucket/lake", "s3a://AKID:***@bucket/lake"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=s3%2Bcr3t&x=1", "https://a.blob.core.windows.net/c?sv=1&sig=***&x=1"),
        ("--conf spark.hadoop.fs.s3a.secret.key=s3cr3t -v", "--conf spark.hadoop.fs.s3a.secret.key=*** -v"),
        ('{"fs.azure.account.key.acc": "s3c r3t==", "x": 1}', '{"fs.azure.account.key.acc": ***, "x": 1}'),
        ("password='s3 cr3t', rank=3", "password=***, rank=3"),
        ("X-Amz-Signature=s3cr3t&X-Amz-Security-Token=s3cr3t", "X-Amz-Signature=***&X-Amz-Security-Token=***"),
    ],
)  # fmt: skip
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["abfss://lake@account.dfs.core.windows.net/x", "hdfs://namenode:8020/user/me@home", "sqlite:////data/mlflow.db",
     "http://127.0.0.1:5000/#/experiments/1@2", "12:30:00 INFO a: b@c", "tokens: 5, token is missing", "s3a://bucket/x=1"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_values_of_secret_environment_variables_are_hidden_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc")  # too short to be told from other text
    assert redact(f"401 for {SECRET}, abc") == "401 for ***, abc"


def test_trees_are_redacted_by_names_and_by_texts() -> None:
    tree = {"conf": {"fs.s3a.access.key": 5, "list": ["http://a:b@c", 2]}, "token": None, "passwords": ["x", "y"]}
    assert redact_tree(tree) == {
        "conf": {"fs.s3a.access.key": "***", "list": ["http://a:***@c", 2]}, "token": None, "passwords": ["***", "***"],
    }  # fmt: skip


def test_a_log_record_is_redacted_with_its_arguments_and_traceback() -> None:
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError as problem:
        error = (type(problem), problem, problem.__traceback__)
    record = logging.LogRecord("n", logging.INFO, "p", 1, "reading %s", (f"s3a://k:{SECRET}@b",), error)
    text = RedactingFormatter("%(message)s").format(record)
    assert SECRET not in text
    assert text.splitlines()[0] == "reading s3a://k:***@b"


@pytest.mark.parametrize("kind", [DataError, RuntimeError])
def test_a_job_that_fails_shows_no_secret(kind: type, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(*_: object) -> None:
        raise kind(f"cannot read s3a://key:{SECRET}@bucket/x")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.run_job("x", lambda *_: cli.JobResult(), description="X.", argv=[]) == 1
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "s3a://key:***@bucket/x" in json.loads(out.splitlines()[-1])["error"]
    assert "s3a://key:***@bucket/x" in err


def test_the_stack_of_a_java_exception_is_for_the_log_alone(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(*_: object) -> None:
        raise RuntimeError("An error occurred.\n: java.io.IOException: no space\n\tat org.x.Y(Y.java:1)\n\tat z")

    monkeypatch.setattr(cli, "_run", fail)
    cli.run_job("x", lambda *_: cli.JobResult(), description="X.", argv=[])
    out, err = capsys.readouterr()
    error = json.loads(out.splitlines()[-1])["error"]
    assert error == "RuntimeError: An error occurred.\n: java.io.IOException: no space"
    assert "Y.java" in err


def test_a_job_that_succeeds_shows_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    uri = f"postgresql://u:{SECRET}@db/x"
    monkeypatch.setattr(cli, "_run", lambda *_: cli.JobResult(outputs={"path": uri}, summary=f"mlflow ui {uri}"))
    assert cli.run_job("x", lambda *_: cli.JobResult(), description="X.", argv=[]) == 0
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert json.loads(out.splitlines()[-1])["outputs"] == {"path": "postgresql://u:***@db/x"}


def test_a_manifest_holds_no_secret_of_its_settings() -> None:
    given = {"conf": {"secret": SECRET}, "table": f"s3a://k:{SECRET}@b/t", "rank": 3}
    text = Manifest("train", "v", "now", given, {}, "f", "1").to_json()
    assert SECRET not in text
    assert Manifest.from_json(text).settings == {"conf": {"secret": "***"}, "table": "s3a://k:***@b/t", "rank": 3}
