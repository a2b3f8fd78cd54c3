"""A search whose process was killed ends in the trials of an undisturbed one. Slow: three runs of the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from ingest_factory import movie_lines, rating_lines, write_csv

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    *("study.folds=2", "study.inner_folds=2", "tune.n_trials=5", "tune.startup=2", "tune.chunk=2"),
    *("train.max_iter=6", "tracking.enabled=false", "tune.space.rank={low: 2, high: 12}"),
)


def command(release: Path, workdir: Path) -> list[str]:
    overrides = [word for setting in QUICK for word in ("--set", setting)]
    job = ["jobs/tune.py", "--dataset", str(release), "--workdir", str(workdir), *overrides]
    return [str(ROOT / "spark-submit.sh"), "--master", "local[2,4]", *job]


def trials(release: Path, workdir: Path) -> dict:
    done = subprocess.run(command(release, workdir), cwd=workdir.parent, capture_output=True, text=True, check=True)
    line = json.loads(done.stdout.splitlines()[-1])
    found = json.loads(Path(line["outputs"]["trials"]).read_text(encoding="utf-8"))
    return {name: report["trials"] for name, report in found.items()}


def killed_in_round(release: Path, workdir: Path, number: int) -> None:
    """Run until the round before has been told of, and kill the whole process group."""
    with subprocess.Popen(
        command(release, workdir), cwd=workdir.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if f"round {number} of trials" in line:
                os.killpg(process.pid, signal.SIGKILL)
                return
    raise AssertionError("the job ended before it could be killed")


def test_a_killed_job_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    release = write_csv(tmp_path / "small", rating_lines(1500), movie_lines(60))
    killed_in_round(release, tmp_path / "killed", 2)
    resumed, undisturbed = trials(release, tmp_path / "killed"), trials(release, tmp_path / "whole")
    assert resumed == undisturbed
    assert {len(found) for found in resumed.values()} == {5}
