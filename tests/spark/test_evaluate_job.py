"""The step `evaluate` over small published steps: what it writes, and what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from model_factory import random_model
from recsys_spark import lake
from recsys_spark.config import EvaluateSettings, Settings, step_root
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.evaluate.job import choose_classes, run
from recsys_spark.evaluate.rating import rmse
from recsys_spark.ingest import split_job
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.schema import RATINGS_DDL

NO_ARGS = argparse.Namespace()
CHOICE = ("test_fold", "validation_share", "seed")


def make_settings(root: Path, **split) -> Settings:
    settings = Settings(workdir=str(root), evaluate=EvaluateSettings(baselines=("global_mean",)))
    return settings.model_copy(update={"split": settings.split.model_copy(update={"folds": 3, **split})})


def publish(spark, settings: Settings, step: str, write, inputs=None, chosen=None) -> lake.Published:
    return lake.publish(
        spark, step_root(settings, step), step=step, settings=chosen or {}, inputs=inputs or {}, write=write
    )


@pytest.fixture(scope="module")
def published(spark, tmp_path_factory) -> Settings:
    """An ingest, its split, (empty) blocks and a model that nobody trained, for 12 users and 30 + 1 items."""
    settings = make_settings(tmp_path_factory.mktemp("lake"))
    rng = np.random.default_rng(2)
    model = random_model()
    pairs = [(u, i) for u in model.user.ids.to_pylist() for i in [*model.item.ids.to_pylist(), 5] if rng.random() < 0.6]
    rows = [(u, i, float(rng.integers(1, 11)) / 2, None) for u, i in pairs]

    def ingest(draft: lake.Draft) -> dict:
        draft.write_table(spark.createDataFrame(rows, RATINGS_DDL), "ratings")
        return {"scale": {"low": 0.5, "high": 5.0, "step": 0.5}}

    publish(spark, settings, "ingest", ingest)
    split_job.run(spark, settings, NO_ARGS)
    split = lake.current(spark, split_job.split_root(settings), "split")
    chosen = {"split": settings.split.model_dump(mode="json", include=set(CHOICE))}
    blocks = publish(spark, settings, "blocks", lambda draft: None, {"split": split.manifest.version}, chosen)
    publish(
        spark,
        settings,
        "train",
        lambda draft: BlockALSModel(model).write().save(f"{draft.path}/model"),
        {"blocks": blocks.manifest.version},
    )
    return settings


def test_what_is_published(spark, published):
    result = run(spark, published, NO_ARGS)
    rows = lake.read_table(spark, result.outputs["evaluate"], "predictions").toPandas()
    assert list(rows.columns) == ["user", "item", "rating", "prediction", "train_count", "global_mean"]

    model = random_model()
    expected = model.predict(pa.array(rows["user"]), pa.array(rows["item"]))
    assert rows["prediction"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert result.metrics["rmse"] == pytest.approx(rmse(rows["rating"].to_numpy(), expected), rel=1e-6)
    assert result.metrics["test_rows"] == len(rows)
    assert result.metrics["rmse_global_mean"] > 0
    assert 0 < result.metrics["ndcg"] <= 1
    assert {"ndcg_popularity", "ndcg_svd", "coverage_svd"} <= result.metrics.keys()
    results = Path(result.outputs["evaluate"], "results.md").read_text()
    assert (
        f"Lists of 10 for {result.metrics['ranked_users']} users with a relevant test item (rated 3.875 or" in results
    )
    assert "| truncated SVD |" in results
    assert json.loads(Path(result.outputs["metrics"]).read_text())["metrics"]["rmse"] == result.metrics["rmse"]

    split = split_job.split_root(published)
    train = lake.read_table(spark, split, "ratings").where("fold != 0").toPandas()
    assert rows["train_count"].max() <= train.groupby("item").size().max()
    assert rows["train_count"].sum() > 0

    bins = lake.read_table(spark, result.outputs["evaluate"], "bins").toPandas()
    assert set(bins["predictor"]) == {"model", "global_mean"}
    assert bins.query("predictor == 'model'")["n"].sum() == len(rows)
    assert [path.name for path in sorted(Path(result.outputs["figures"]).glob("*.png"))] == [
        "learning_curve.png",
        "popularity_bins.png",
        "rating_histogram.png",
    ]
    assert "| this model |" in Path(result.outputs["evaluate"], "results.md").read_text()
    assert run(spark, published, NO_ARGS).outputs == result.outputs


def test_a_model_of_another_fold_is_refused(spark, published):
    other = make_settings(Path(published.workdir), test_fold=1)
    with pytest.raises(DataError, match=r"are of another split or test fold .*'test_fold': 0.* run jobs/blocks.py"):
        run(spark, other, NO_ARGS)


def test_a_model_of_other_blocks_is_refused(spark, published):
    root = step_root(published, "blocks")
    before = lake.current(spark, root, "blocks").manifest
    try:
        settings = {**before.settings, "blocks": {"users": 3}}
        publish(spark, published, "blocks", lambda draft: None, dict(before.inputs), settings)
        with pytest.raises(DataError, match=r"trained on other blocks .* run jobs/train.py first"):
            run(spark, published, NO_ARGS)
    finally:
        publish(spark, published, "blocks", lambda draft: None, dict(before.inputs), dict(before.settings))


def test_steps_come_in_order(spark, tmp_path):
    with pytest.raises(NotPublishedError, match=r"jobs/ingest.py"):
        run(spark, make_settings(tmp_path), NO_ARGS)


def test_classes_of_a_scale_without_steps(spark):
    train = spark.createDataFrame([(x / 10,) for x in (30, 10, 30, 25)], "rating float")
    assert choose_classes({"low": 0.0, "high": 5.0, "step": None}, train) == pytest.approx([1, 2.5, 3])
    assert len(choose_classes({"low": 0.0, "high": 5.0, "step": 0.5}, train)) == 11
    many = spark.range(200).selectExpr("cast(id as float) as rating")
    with pytest.raises(DataError, match=r"more than 101 different ratings .* round the ratings"):
        choose_classes({"low": 0.0, "high": 200.0}, many)
