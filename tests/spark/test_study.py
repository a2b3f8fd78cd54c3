"""The study on a tiny generated release, end to end: what it publishes, logs and says, and what it does not redo."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import lake
from recsys_spark.ablation import job as ablate_job
from recsys_spark.ablation.spark_als import training
from recsys_spark.cli import JobResult
from recsys_spark.config import GraphSpec, Settings, load_settings
from recsys_spark.errors import ConfigError, DataError, NotPublishedError
from recsys_spark.evaluate.lists import ndcg
from recsys_spark.evaluate.ranking import TopNEvaluator
from recsys_spark.generate.preset import PRESETS
from recsys_spark.study import job as study_job
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.lab import Fit, Lab
from recsys_spark.tuning.prepare import load, prepare, storage_url, study_settings

KEPT = {"full", "biases_only", "pyspark_als"}


@dataclass
class Study:
    settings: Settings
    result: JobResult
    results: dict[str, Any]
    trials: dict[str, Any]


def settings_for(folder: Path, *overrides: str) -> Settings:
    fixed = {"dataset": "tiny", "workdir": f"file:{folder}/lake", "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    left_out = [f"ablate.variants.{name}=null" for name in Settings().ablate.variants if name not in KEPT]
    quick = [
        "study.folds=2",
        "study.inner_folds=2",
        "tune.n_trials=2",
        "tune.chunk=2",
        "tune.startup=1",
        "tune.space.rank={low: 2, high: 6}",
        "tune.space.graph_top_k.choices=[5]",
        "tune.space.graph_source.choices=[[genre, year]]",
        "ablate.n_trials=1",
        "ablate.resamples=199",
        "train.max_iter=3",
        "evaluate.pyspark.iterations=2",
    ]
    return load_settings([], [*quick, *left_out, *overrides], fixed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def study(spark: SparkSession, folder: Path) -> Study:
    settings = settings_for(folder)
    result = study_job.run(spark, settings, argparse.Namespace())
    texts = [lake.read_text(spark, result.outputs[name]) for name in ("results", "trials")]
    return Study(settings, result, *map(json.loads, texts))


def test_every_variant_is_judged_in_both_settings_on_the_same_rows(study: Study) -> None:
    for by_name in study.results["settings"].values():
        assert set(by_name) == KEPT
        for name, found in by_name.items():
            assert found["rmse"] == pytest.approx(np.mean(found["rmse_folds"]))
            assert sum(part["rows"] for part in found["bins"]) == TINY.ratings
            assert 0 <= found["ndcg"] <= 1
            assert (found["against_full"] is None) == (name == "full")
            assert study.result.metrics["variants.full.rmse"] == study.results["settings"]["retuned"]["full"]["rmse"]
    own = study.results["settings"]["retuned"]
    assert own["full"]["rmse"] < own["pyspark_als"]["rmse"]
    assert own["pyspark_als"]["against_full"]["p_users"] < 0.05
    assert study.results["optimism"]["gain"] == pytest.approx(
        own["full"]["rmse"] - min(t["value"] for t in study.trials["all-folds"]["trials"])
    )


def test_every_search_has_its_trials(study: Study) -> None:
    assert set(study.trials) == {"outer-0", "outer-1", "all-folds"}
    for name, report in study.trials.items():
        assert [trial["number"] for trial in report["trials"]] == [0, 1]
        assert report["best"] == min((t for t in report["trials"] if not t["pruned"]), key=lambda t: t["value"]), name
        assert all(t["value"] == min(t["curve"]) for t in report["trials"])


def test_the_best_parameters_are_a_configuration(study: Study, spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(lake.read_text(spark, study.result.outputs["best"]), encoding="utf-8")
    best, settings = study.trials["all-folds"]["best"], load_settings([file])
    assert settings.train.rank == best["params"]["rank"]
    assert settings.train.max_iter == best["iterations"]
    assert settings.blocks.item_graph is not None


def test_report_and_figures_are_published(study: Study, spark: SparkSession) -> None:
    page = lake.read_text(spark, study.result.outputs["report"])
    assert page.count("data:image/png;base64,") == 7
    table = lake.read_text(spark, study.result.outputs["table"])
    assert "| pyspark.ml ALS |" in table
    assert "its settings tuned inside each" in study.result.summary
    names = [
        name for name, *_ in lake.list_dir(spark, study.result.outputs["report"].replace("report.html", "figures"))
    ]
    assert names == ["learning_curves.png", "popularity_bins.png", "rmse_by_variant.png", "seconds.png"]


def test_trials_and_variants_are_runs_nested_in_one(study: Study, folder: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (known,) = [e for e in client.search_experiments() if e.name == "recsys_spark"]
    runs = client.search_runs([known.experiment_id])
    parents = {run.data.tags["job"]: run for run in runs if "job" in run.data.tags}
    assert set(parents) == {"tune", "ablate", "study"}
    children: dict[str, list] = {name: [] for name in parents}
    for run in runs:
        parent = run.data.tags.get("mlflow.parentRunId")
        for name, found in parents.items():
            if parent == found.info.run_id:
                children[name].append(run)
    assert {name: len(found) for name, found in children.items()} == {"tune": 6, "ablate": 6, "study": 0}
    assert {run.info.status for run in runs} == {"FINISHED"}
    trial = next(run for run in children["tune"] if run.info.run_name == "outer-1 1")
    assert trial.data.metrics["value"] == pytest.approx(study.trials["outer-1"]["trials"][1]["value"])
    assert "rank" in trial.data.params
    paths = {a.path for a in client.list_artifacts(parents["study"].info.run_id)}
    assert paths >= {"report.html", "results.md", "figures", "settings.yaml"}
    assert {a.path for a in client.list_artifacts(parents["tune"].info.run_id, "figures")} == {
        *("figures/history.png", "figures/importances.png", "figures/slices.png")
    }


def test_a_second_run_does_nothing_but_write_the_table(
    study: Study, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "_run", None)
    file = tmp_path / "study.md"
    file.write_text("<!-- study:begin --><!-- study:end -->", encoding="utf-8")
    again = study_job.run(spark, study.settings, argparse.Namespace(write_table=str(file)))
    assert again.outputs == study.result.outputs
    assert lake.read_text(spark, again.outputs["table"]) in file.read_text(encoding="utf-8")


def test_an_ablation_needs_the_tuning_of_its_data(
    study: Study, spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"tuned with other data or settings than these: run jobs/tune.py first"):
        ablate_job.run(spark, settings_for(folder, "train.seed=3"), argparse.Namespace())
    with pytest.raises(NotPublishedError, match=r"run jobs/tune.py first"):
        ablate_job.run(spark, settings_for(tmp_path), argparse.Namespace())


def test_trials_are_kept_where_sqlite_can_be(spark: SparkSession, tmp_path: Path) -> None:
    spark.conf.set("fs.viewfs.mounttable.trials.link./x", f"file:{tmp_path}")
    with pytest.raises(ConfigError, match="set tune.storage to the URL of a database"):
        storage_url(spark, load_settings([], ["workdir=viewfs://trials/x"]))
    assert storage_url(spark, load_settings([], ["tune.storage=postgresql://host/x"])) == "postgresql://host/x"
    assert storage_url(spark, settings_for(tmp_path)) == f"sqlite:///{tmp_path}/lake/tiny/trials/optuna.db"


def test_lists_are_judged_as_the_evaluator_judges_them(study: Study, spark: SparkSession, folder: Path) -> None:
    material = load(spark, prepare(spark, study_settings(study.settings), argparse.Namespace()))
    fold = material.folds["outer-0"]
    rng = np.random.default_rng(0)
    users = np.unique(fold.judged["user"].to_numpy())
    items = fold.plan.item.ids.to_numpy()
    lists = np.array([rng.choice(len(items), 10, replace=False) for _ in users])
    truth = fold.judged.to_pandas()
    liked = truth[truth["rating"] >= 4.0].groupby("user")["item"].apply(list).to_dict()
    kept = [at for at, user in enumerate(users) if user in liked]
    relevant = [np.searchsorted(items, liked[users[at]]) for at in kept]
    found = ndcg(lists[kept], relevant, 10)
    shown = [(int(u), [{"item": int(i)} for i in items[row]]) for u, row in zip(users, lists, strict=True)]
    frame = spark.createDataFrame(shown, "user long, recommendations array<struct<item: long>>")
    metrics = TopNEvaluator(k=10, relevanceThreshold=4.0).metrics(frame, spark.createDataFrame(fold.judged))
    assert found.mean() == pytest.approx(metrics["ndcg"], abs=1e-12)
    assert len(found) == metrics["users"]
    assert 0 < found.mean() < 1


def test_a_lab_leaves_nothing_and_passes_errors_on(study: Study, spark: SparkSession) -> None:
    material = load(spark, prepare(spark, study_settings(study.settings), argparse.Namespace()))
    assert len(training(material.folds["outer-1"])) + len(material.folds["outer-1"].judged) == TINY.ratings
    with material.lab(spark) as lab:
        assert lab.judge([]) == []
        with pytest.raises(ConfigError, match="a study's graphs are made of item features"):
            lab.judge([Fit("outer-0", Candidate(material.settings.train, graph=GraphSpec(table="x", top_k=None)))])
