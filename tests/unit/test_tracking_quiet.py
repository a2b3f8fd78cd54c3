"""What MLflow prints does not reach stdout, and it does not phone home unless asked to."""

from __future__ import annotations

import os
import sys

import pytest

from recsys_spark.tracking.quiet import quiet


def test_prints_go_to_stderr_inside_and_to_stdout_after(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("View run")
        sys.stdout.write("View experiment\n")
    print("result")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "View run\nView experiment\n"


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_telemetry_is_off_unless_asked_for(before: str | None, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, before or "")
        if before is None:
            monkeypatch.delenv(name)
    with quiet():
        pass
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == after
