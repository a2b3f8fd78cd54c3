"""Sweeps over one parameter on a tiny generated release: what they publish and log, and that nothing is done twice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, load_settings
from recsys_spark.generate.preset import PRESETS
from recsys_spark.tuning import sweep

RANKS = argparse.Namespace(parameter="rank", values="1, 5")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("sweep")
    fixed = {"dataset": "tiny", "workdir": f"file:{folder}/lake", "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        quick = ["study.folds=2", "train.max_iter=3", "train.rank=5", "train.user.reg=2", "train.item.reg=2"]
        yield load_settings([], quick, fixed)


@pytest.fixture(scope="module")
def ranks(spark: SparkSession, settings: Settings) -> JobResult:
    return sweep.run(spark, settings, RANKS)


def fits(spark: SparkSession, result: JobResult) -> pd.DataFrame:
    return spark.read.parquet(result.outputs["fits"]).toPandas().set_index(["value", "fold"]).sort_index()


def test_a_wider_model_fits_the_training_ratings_better(spark: SparkSession, ranks: JobResult) -> None:
    found = fits(spark, ranks)
    assert found.index.tolist() == [(1.0, 0), (1.0, 1), (5.0, 0), (5.0, 1)]
    assert (found.loc[5.0, "train_rmse"] < found.loc[1.0, "train_rmse"]).all()
    assert (found["gap"] == found["test_rmse"] - found["train_rmse"]).all()
    means = pd.read_csv(Path(ranks.outputs["csv"].removeprefix("file:")), index_col="value")
    assert ranks.metrics["values.5.test_rmse"] == pytest.approx(found.loc[5.0, "test_rmse"].mean())
    assert means.loc[5, "gap"] == pytest.approx(found.loc[5.0, "gap"].mean())
    best = min((1, 5), key=lambda value: means.loc[value, "test_rmse"])
    assert ranks.metrics["best_value"] == best
    assert next(line for line in ranks.summary.splitlines() if "best in test" in line).split()[0] == str(best)
    assert lake.exists(spark, ranks.outputs["figure"])


def test_all_of_the_ratings_are_the_share_of_1(spark: SparkSession, settings: Settings, ranks: JobResult) -> None:
    shares = sweep.run(spark, settings, argparse.Namespace(parameter="share", values="0.3, 1"))
    found, whole = fits(spark, shares), fits(spark, ranks).loc[5.0]
    measures = ["train_rmse", "test_rmse"]
    pd.testing.assert_frame_equal(found.loc[1.0, measures], whole[measures])
    assert (found.loc[0.3, measures] != found.loc[1.0, measures]).all(axis=None)


def test_it_is_one_run_with_one_nested_for_each_value_and_not_made_twice(
    spark: SparkSession, settings: Settings, ranks: JobResult
) -> None:
    again = sweep.run(spark, settings, RANKS)
    assert (again.outputs, again.metrics) == (ranks.outputs, ranks.metrics)
    client = mlflow.MlflowClient(tracking_uri=settings.tracking.uri)
    (known,) = [e for e in client.search_experiments() if e.name == "recsys_spark"]
    nested = [r for r in client.search_runs([known.experiment_id]) if "rank" in r.data.params]
    assert len({r.data.tags["mlflow.parentRunId"] for r in nested}) == 1
    assert sorted((r.data.params["rank"], r.data.metrics["test_rmse"]) for r in nested) == [
        (value, pytest.approx(ranks.metrics[f"values.{value}.test_rmse"])) for value in ("1", "5")
    ]
