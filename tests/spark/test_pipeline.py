"""The whole pipeline on a tiny generated release: what it says, publishes and logs, and that it does nothing twice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import experiment, lake
from recsys_spark.als.model import MEASURED
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.errors import NotPublishedError
from recsys_spark.generate.preset import PRESETS

ARGS = argparse.Namespace()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


def settings_for(folder: Path, *overrides: str) -> Settings:
    fixed = {"dataset": "tiny", "workdir": f"file:{folder}/lake", "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    quick = [
        "train.rank=4",
        "train.max_iter=3",
        "evaluate.baselines=[global_mean, biases]",
        "score.run_date=2026-01-31",
    ]
    return load_settings([], [*quick, *overrides], fixed)


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def first(spark: SparkSession, tiny: None, folder: Path) -> JobResult:
    return experiment.pipeline(spark, settings_for(folder), ARGS)


def runs(folder: Path) -> list:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (known,) = [e for e in client.search_experiments() if e.name == "recsys_spark"]
    return client.search_runs([known.experiment_id])


def test_metrics_and_outputs(first: JobResult, spark: SparkSession) -> None:
    assert first.metrics["rmse"] < first.metrics["rmse_global_mean"]
    assert first.metrics["train_iterations"] == 3
    top = spark.read.parquet(first.outputs["recommendations"])
    assert top.columns == ["user", "rank", "item", "score", "run_date"]
    assert top.select("user").distinct().count() == TINY.users + TINY.cold_users


def test_everything_belongs_to_one_run(first: JobResult, folder: Path, tmp_path: Path) -> None:
    (run,) = runs(folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == first.outputs["run_id"]
    assert {i.tags[0].value for i in run.inputs.dataset_inputs} == {"training", "validation", "test"}
    assert run.data.metrics["rmse"] == pytest.approx(first.metrics["rmse"])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    assert len(client.get_metric_history(run.info.run_id, "fit/objective")) == 3
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {
        *("figures", "metrics.json", "sample_recommendations.json", "sample_recommendations.md", "settings.yaml")
    }
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}", dst_path=str(tmp_path))
    finally:
        mlflow.set_tracking_uri(None)
    scored = model.predict(pd.DataFrame({"user": [1, 2], "item": [1, 1]}))
    assert np.isfinite(scored["prediction"]).all()


def test_a_second_run_does_nothing_twice(first: JobResult, spark: SparkSession, folder: Path) -> None:
    again = experiment.pipeline(spark, settings_for(folder), ARGS)
    assert again.outputs == first.outputs
    assert len(runs(folder)) == 1
    shown = ("3,000 ratings", "rank 4, 3 iterations", "biases only", "Lists of 10 for", "truncated SVD", "Three users")
    for words in ("this model", "mlflow ui", *shown):
        assert words in again.summary


def test_other_settings_train_again_and_the_store_may_change(
    spark: SparkSession, first: JobResult, folder: Path
) -> None:
    untracked = settings_for(folder, "train.seed=9", "tracking.enabled=false")
    trained = experiment.train(spark, untracked, ARGS)
    assert trained.outputs["model"] != first.outputs["model"]
    assert "run_id" not in trained.outputs
    assert len(runs(folder)) == 1
    # the first model again: its run is not in another store, which is no reason to fail
    experiment.train(spark, settings_for(folder), ARGS)
    elsewhere = settings_for(folder, f"tracking.uri=sqlite:///{folder}/other.db")
    assert experiment.evaluate(spark, elsewhere, ARGS).metrics["rmse"] == first.metrics["rmse"]


@pytest.mark.slow
def test_one_two_and_seven_blocks_a_side_train_the_same_bits(
    spark: SparkSession, first: JobResult, folder: Path
) -> None:
    from recsys_spark.als.model_uri import load_model_uri
    from recsys_spark.blocks import job as blocks_job

    fitted = []
    for n, exchange in ((1, "auto"), (2, "shuffle"), (7, "mixed")):
        grid = (f"blocks.users={n}", f"blocks.items={n}", f"fit.exchange={exchange}")
        settings = settings_for(folder, *grid, "tracking.enabled=false")
        assert blocks_job.run(spark, settings, ARGS).metrics["user_blocks"] == n
        fitted.append(load_model_uri(spark, f"{experiment.train(spark, settings, ARGS).outputs['model']}/fitted"))
    for side in ("user", "item"):
        for name in ("factors", "biases", "projection", "projection_bias", "counts"):
            assert len({getattr(getattr(m, side), name).tobytes() for m in fitted}) == 1, (side, name)
    histories = [m.history.drop_columns(list(MEASURED)) for m in fitted]
    assert histories[0].equals(histories[1])
    assert histories[0].equals(histories[2])


def test_graphs_are_built_with_the_blocks_and_weighed_in_training(
    spark: SparkSession, first: JobResult, folder: Path, tmp_path: Path
) -> None:
    from recsys_spark.als.model_uri import load_model_uri
    from recsys_spark.blocks import job as blocks_job

    table = f"file:{tmp_path}/alike"
    spark.createDataFrame([(1, 2, 0.5), (2, 3, 0.25)], "i long, j long, s double").coalesce(1).write.parquet(table)
    settings = settings_for(
        folder,
        "blocks.item_graph={groups: [genre], top_k: 5, min_similarity: 0.3}",
        f"blocks.user_graph={{table: '{table}', top_k: null}}",
        "train.item.graph=0.5",
        "train.user.graph=0.5",
        "tracking.enabled=false",
    )
    blocks = blocks_job.run(spark, settings, ARGS)
    edges = spark.read.parquet(blocks.outputs["entries"]).where("kind = 'graph'")
    by_side = {name: edges.where(f"side = '{name}'") for name in ("user", "item")}
    assert by_side["user"].count() == 4
    assert by_side["item"].where("value < 0.3").count() == 0
    assert blocks_job.run(spark, settings, ARGS).outputs == blocks.outputs
    fitted = load_model_uri(spark, f"{experiment.train(spark, settings, ARGS).outputs['model']}/fitted")
    last = fitted.history.to_pylist()[-1]
    assert last["graph_item"] > 0
    assert last["graph_user"] > 0
    terms = ("sse", "reg_user", "reg_item", "reg_user_bias", "reg_item_bias", "reg_projection", "unobserved")
    assert last["objective"] == pytest.approx(sum(last[t] for t in (*terms, "graph_user", "graph_item")))


def test_steps_say_what_must_run_first(spark: SparkSession, tiny: None, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    for step, first_step in (
        (experiment.train, "blocks"),
        (experiment.evaluate, "ingest"),
        (experiment.score, "train"),
    ):
        with pytest.raises(NotPublishedError, match=f"run jobs/{first_step}.py first"):
            step(spark, settings, ARGS)
    with pytest.raises(NotPublishedError):
        lake.current(spark, step_root(settings, "train"), "train")
