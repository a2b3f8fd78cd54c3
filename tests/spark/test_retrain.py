"""Nights of retraining: the first champion, one that wins, one that does not, and the way back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pytest

from ingest_factory import write_csv
from recsys_spark import experiment, lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, load_settings
from recsys_spark.retrain.job import run
from recsys_spark.tracking.registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

USERS, FILMS = 60, 40
NO_ARGS = argparse.Namespace(rollback=None)


def planted(nights: int) -> list[str]:
    """Ratings of the first so many of four nights: taste of rank 1, biases, rounded to half stars; a new user a day."""
    rng = np.random.default_rng(3)
    taste, kind = rng.normal(0, 1, USERS), rng.normal(0, 1, FILMS)
    pairs = rng.permutation(USERS * FILMS)[:1600]
    lines = []
    for at, pair in enumerate(pairs):
        user, film = divmod(int(pair), FILMS)
        stars = np.clip(np.rint(2 * (3.2 + 0.3 * kind[film] + taste[user] * kind[film])) / 2, 0.5, 5)
        lines.append(f"{user + 1},{film + 1},{stars},{1_700_000_000 + 600 * at}")
    return lines[: 1000 + 200 * nights]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrain")


def settings_for(folder: Path, *overrides: str) -> Settings:
    fixed = ["train.rank=2", "train.item.reg=1", "train.user.reg=1", "retrain.share=0.2", "split.validation_share=0"]
    where = {
        "dataset": str(folder / "films"),
        "workdir": f"file:{folder}/lake",
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    return load_settings([], [*fixed, *overrides], where)


@pytest.fixture(scope="module")
def first(spark: SparkSession, folder: Path) -> JobResult:
    """The first night: one iteration, so that there is something left to win."""
    write_csv(folder / "films", planted(1))
    return run(spark, settings_for(folder, "train.max_iter=1"), NO_ARGS)


@pytest.fixture(scope="module")
def second(spark: SparkSession, folder: Path, first: JobResult) -> JobResult:
    write_csv(folder / "films", planted(2))
    return run(spark, settings_for(folder, "train.max_iter=8"), NO_ARGS)


@pytest.fixture(scope="module")
def third(spark: SparkSession, folder: Path, second: JobResult) -> JobResult:
    write_csv(folder / "films", planted(3))
    return run(spark, settings_for(folder, "train.max_iter=8", "retrain.margin=0.5"), NO_ARGS)


def version(folder: Path, number: str):  # type: ignore[no-untyped-def]
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").get_model_version("films", number)


def champion(folder: Path) -> str:
    found = Registry(settings_for(folder), "films").champion()
    assert found is not None
    return found.number


def test_the_first_night_makes_the_first_champion(first: JobResult, folder: Path) -> None:
    assert first.metrics["promoted"] == 1
    assert first.metrics["fit_iterations"] == 1
    found = version(folder, "1")
    assert found.tags["decision"] == "promoted"
    assert found.tags["begun_from"] == "the seed"
    assert found.tags["reason"].startswith("the first champion; RMSE ")
    assert "former_champion" not in found.tags


def test_what_wins_is_promoted(second: JobResult, folder: Path) -> None:
    assert second.metrics["promoted"] == 1
    assert second.metrics["rmse"] < second.metrics["champion_rmse"]
    assert second.outputs["champion"] == "models:/films/2"
    found = version(folder, "2")
    assert (found.tags["former_champion"], found.tags["begun_from"]) == ("1", "version 1")
    assert f"is {(1 - second.metrics['rmse'] / second.metrics['champion_rmse']):.2%} below the" in found.tags["reason"]
    assert found.description == f"Promoted: {found.tags['reason']}."
    assert found.tags["ratings"] == "1,400"
    run_ = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").get_run(found.run_id)
    assert run_.data.tags["decision"] == "promoted"
    assert run_.data.metrics["champion_rmse"] == pytest.approx(second.metrics["champion_rmse"])
    assert {i.dataset.name: i.tags[0].value for i in run_.inputs.dataset_inputs} == {
        "films.older": "training", "films.newest": "test",
    }  # fmt: skip


def test_what_does_not_win_by_the_margin_is_kept_out(third: JobResult, folder: Path) -> None:
    assert third.metrics["promoted"] == 0
    assert third.outputs["champion"] == "models:/films/2"
    assert "at least 50.00% below is wanted" in version(folder, "3").tags["reason"]
    assert version(folder, "3").tags["decision"] == "not promoted"
    assert "Version   3 of films: not promoted" in third.summary


def test_the_same_ratings_are_fought_over_once(third: JobResult, spark: SparkSession, folder: Path) -> None:
    again = run(spark, settings_for(folder, "train.max_iter=8"), NO_ARGS)
    assert (again.outputs, again.metrics["promoted"]) == (third.outputs, 0)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    client.set_model_version_tag("films", "2", "decision", "being judged")  # as if killed after the promotion
    write_csv(folder / "films", planted(2))
    mended = run(spark, settings_for(folder, "train.max_iter=8"), NO_ARGS)
    assert mended.outputs["model"] == "models:/films/2"
    assert version(folder, "2").tags["decision"] == "promoted"
    assert len(client.search_model_versions("name='films'")) == 3


def test_the_champion_scores_and_is_rolled_back(third: JobResult, spark: SparkSession, folder: Path) -> None:
    scored = settings_for(folder, "score.model=models:/films@champion", "score.run_date=2026-11-20", "score.n=3")

    def model_of_the_day() -> dict[str, str]:
        table = experiment.score(spark, scored, NO_ARGS).outputs["recommendations"]
        extra = lake.read_text(spark, f"{table.rpartition('/')[0]}/_manifest.json")
        return dict(json.loads(extra)["extra"]["model"])

    facts = model_of_the_day()
    assert (facts["name"], facts["version"], facts["alias"]) == ("films", "2", "champion")
    back = run(spark, settings_for(folder), argparse.Namespace(rollback="worse lists"))
    assert (back.outputs["champion"], back.outputs["rolled_back"]) == ("models:/films/1", "models:/films/2")
    assert champion(folder) == "1"
    assert version(folder, "2").tags["decision"] == "rolled back"
    assert version(folder, "2").tags["rolled_back"].endswith("to version 1: worse lists")
    assert model_of_the_day()["version"] == "1"


def test_a_champion_of_another_rank_is_begun_anew(first: JobResult, spark: SparkSession, folder: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    write_csv(folder / "films", planted(3)[:-100])
    found = run(spark, settings_for(folder, "train.rank=3", "train.max_iter=1", "retrain.margin=0.9"), NO_ARGS)
    assert found.metrics["promoted"] == 0
    assert "rank 2, train.rank is 3: the challenger begins anew" in caplog.text
