"""What MLflow is told, and says of a store that cannot be used, holds no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_spark.als.model_io import save_model
from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.tracking.journal import Journal
from recsys_spark.tracking.run import Child, track
from tests.model_factory import random_model

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from mlflow.tracking.context.git_context import GitRunContext

from recsys_spark.tracking.datasets import DataSet
from recsys_spark.tracking.store import open_run


def test_no_secret_reaches_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Kept/To-0urselves")
    secrets = ("Kept/To-0urselves", "hush-1", "hush-2", "hush-3", "hush-4", "hush-5")
    checkout = {"mlflow.source.git.repoURL": "https://x-access-token:hush-5@git.example/a/b"}
    monkeypatch.setattr(GitRunContext, "in_context", lambda self: True)
    monkeypatch.setattr(GitRunContext, "tags", lambda self: checkout)
    save_model(random_model(), tmp_path / "model")
    changed = Settings(
        dataset="s3a://id:hush-2@bucket/ml",
        workdir="http://u:hush-3@host/lake",
        benchmark={"conf": {"spark.hadoop.fs.s3a.secret.key": "hush-1"}},
        tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    )
    with track(changed, "train") as tracker:
        tracker.log_settings(changed)
        tracker.log_tags({"spark.master": "spark://host", "note": "with Kept/To-0urselves"})
        tracker.log_dataset(DataSet("d", "s3a://id:hush-4@bucket/t", "x", "user BIGINT", 1, "training"))
        tracker.log_model(tmp_path / "model")
        tracker.log_child(Child("trial", {"uri": "http://me:hush-5@host"}, {}))
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"s3a://id:***@bucket/ml" in stored
    assert stored.count(b"https://x-access-token:***@git.example/a/b") >= 2  # of the run and of the model
    assert [secret for secret in secrets if secret.encode() in stored] == []


def test_no_secret_is_kept_for_a_store_that_does_not_answer(tmp_path: Path) -> None:
    journal = Journal(tmp_path, None, {"experiment": "e"})
    journal.log_settings(Settings(dataset="s3a://id:hush-1@bucket/ml", workdir="http://u:hush-2@host/lake"))
    journal.log_tags({"note": "password=hush-3"})
    data = DataSet("d", "s3a://id:hush-4@bucket/t", "x", "user BIGINT", 1, "training")
    journal.log_dataset(data)
    journal.log_metrics({"rmse": 0.8}, data)
    journal.log_child(Child("trial", {"uri": "http://me:hush-5@host"}, {}))
    kept = [arguments for _, arguments in journal.entries()]
    journal.close()
    assert len(kept) == 5
    assert b"hush" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("uri", ["http://me:hush@127.0.0.1:9", "postgresql://me:hush@127.0.0.1:9/x"])
def test_errors_of_a_store_name_it_without_its_password(uri: str) -> None:
    with (
        pytest.raises(EnvironmentProblem, match=r"cannot use the MLflow store \w+://me:\*\*\*@127") as caught,
        open_run(Settings(tracking={"uri": uri}), "train", None),
    ):
        pytest.fail("the block was entered")
    assert "hush" not in str(caught.value)
