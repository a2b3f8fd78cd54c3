"""What the model is worth on real ratings: five random folds of ml-latest-small against pyspark.ml.ALS.

Slow (about ten minutes): 120 fits of pyspark.ml.ALS over rank × regParam × (raw, centred). Figures are printed (-s).
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_spark import BlockALS, lake
from recsys_spark.config import Settings, load_settings
from recsys_spark.features import job as features_job
from recsys_spark.features.job import read_columns
from recsys_spark.ingest import job as ingest_job
from recsys_spark.ingest import split_job

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
FOLDS = range(5)


@pytest.fixture(scope="module")
def settings(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    files = [ROOT / "conf/default.yaml", ROOT / "conf/ml-latest-small.yaml"]
    lake_dir = tmp_path_factory.mktemp("quality")
    return load_settings(files, [], {"dataset": str(real_data / "ml-latest-small"), "workdir": f"file:{lake_dir}"})


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, settings: Settings) -> tuple[DataFrame, DataFrame, list]:
    """Ratings with their fold, item features, and what their columns mean."""
    for step in (ingest_job.run, split_job.run, features_job.run):
        step(spark, settings, argparse.Namespace())
    ratings = lake.read_table(spark, split_job.split_root(settings), split_job.RATINGS).coalesce(2).cache()
    root = f"{settings.workdir}/ml-latest-small/features"
    return ratings, lake.read_table(spark, root, "item"), read_columns(spark, root, "item")


def rmse(predictions: DataFrame) -> float:
    """Clipped to the scale; every row must have a prediction."""
    error = F.col("rating") - F.least(F.greatest(F.col("prediction"), F.lit(0.5)), F.lit(5.0))
    missing, mean = predictions.select(F.count_if(F.isnan("prediction")), F.avg(error * error)).first()
    assert missing == 0
    return float(np.sqrt(mean))


def over_folds(ratings: DataFrame, estimator: BlockALS) -> list[float]:
    return [
        rmse(estimator.fit(ratings.where(F.col("fold") != f)).transform(ratings.where(F.col("fold") == f)))
        for f in FOLDS
    ]


@pytest.fixture(scope="module")
def biases(prepared, settings: Settings) -> list[float]:
    plain = settings.train.model_copy(
        update={"rank": 0, "max_iter": 10, "item": settings.train.item.model_copy(update={"reg_groups": {}})}
    )
    return over_folds(prepared[0], BlockALS.fromSettings(plain, coldStartStrategy="fallback"))


@pytest.fixture(scope="module")
def full(prepared, settings: Settings) -> list[float]:
    ratings, rows, columns = prepared
    estimator = BlockALS.fromSettings(settings.train, coldStartStrategy="fallback")
    return over_folds(ratings, estimator.setItemFeatures(rows, columns))


def test_biases_alone(biases: list[float]) -> None:
    print(f"\nbiases alone: mean {np.mean(biases):.4f}, folds {np.round(biases, 4).tolist()}")
    assert np.mean(biases) <= 0.870


def test_genres_and_years(full: list[float]) -> None:
    print(f"\ngenres and years: mean {np.mean(full):.4f}, folds {np.round(full, 4).tolist()}")
    assert np.mean(full) <= 0.830


def test_better_than_the_best_pyspark_als(prepared, full: list[float], biases: list[float], tmp_path: Path) -> None:
    """Spark's NaNs (cold rows) are filled with our biases-only prediction, in Spark's favour."""
    ratings = prepared[0]
    ratings.sparkSession.sparkContext.setCheckpointDir(str(tmp_path))
    found: dict[tuple[int, float, str], list[float]] = {}
    for fold in FOLDS:
        train, test = ratings.where(F.col("fold") != fold).cache(), ratings.where(F.col("fold") == fold)
        fallback = BlockALS(rank=0, maxIter=10, coldStartStrategy="fallback", predictionCol="known").fit(train)
        rows = fallback.transform(test).cache()
        mean = train.agg(F.avg("rating")).first()[0]
        grid = itertools.product((10, 20, 30), (0.05, 0.1, 0.15, 0.2), (("raw", 0.0), ("centred", mean)))
        for rank, reg, (kind, offset) in grid:
            als = ALS(rank=rank, regParam=reg, maxIter=10, userCol="user", itemCol="item", ratingCol="r", seed=1)
            als.setNumBlocks(2)
            model = als.fit(train.withColumn("r", F.col("rating") - offset))
            scored = model.transform(rows).withColumn("prediction", F.col("prediction") + offset)
            filled = scored.withColumn("prediction", F.coalesce(F.nanvl("prediction", "known"), "known"))
            found.setdefault((rank, reg, kind), []).append(rmse(filled))
        train.unpersist()
        rows.unpersist()
    best = min(found, key=lambda key: np.mean(found[key]))
    print(f"\nbest pyspark.ml.ALS: rank {best[0]}, regParam {best[1]}, {best[2]}: mean {np.mean(found[best]):.4f}")
    assert np.mean(full) < np.mean(found[best])
    assert all(ours < spark for ours, spark in zip(full, found[best], strict=True))
