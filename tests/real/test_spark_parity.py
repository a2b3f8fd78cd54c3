"""The very model of pyspark.ml.ALS, fitted by both from five seeds each: objective and test RMSE.

Slow: minutes. Figures are printed (-s).

ml-latest-small, and the generated `1m`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.recommendation import ALS
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import generated
from recsys_spark import BlockALS

pytestmark = [pytest.mark.real, pytest.mark.slow]

SEEDS = range(5)
SHARED = {"rank": 10, "maxIter": 30, "userCol": "userId", "itemCol": "movieId"}
FORMS = {"explicit": {"regParam": 0.1}, "implicit": {"regParam": 0.05, "implicitPrefs": True, "alpha": 2.0}}


@pytest.fixture(scope="module", params=["ml-latest-small", "1m"])
def ratings(request, spark: SparkSession, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    """(userId, movieId, rating, held_out), a tenth of them held out by hash."""
    scratch = tmp_path_factory.mktemp("parity")
    spark.sparkContext.setCheckpointDir(str(scratch / "checkpoints"))
    if request.param == "1m":
        drawn = generated.ratings("1m")
        columns = {"userId": drawn.user, "movieId": drawn.item, "rating": drawn.code * 0.5}
        pq.write_table(pa.table(columns), scratch / "ratings.parquet")
        table = spark.read.parquet(str(scratch / "ratings.parquet"))
    else:
        table = spark.read.csv(str(real_data / request.param / "ratings.csv"), header=True, inferSchema=True)
    held = F.pmod(F.xxhash64("userId", "movieId", F.lit(5)), F.lit(10)) == 0
    return table.select("userId", "movieId", "rating", held.alias("held_out")).coalesce(2).cache()


def rows(table: pa.Table) -> dict[int, np.ndarray]:
    wide = np.array(table["features"].to_pylist())
    return dict(zip(table["id"].to_pylist(), wide, strict=True))


def objective(model, train: pa.Table, form: dict) -> float:
    """J of pyspark.ml.ALS, λ·n over all ratings or those r > 0; in float64."""
    sides = [rows(frame.toArrow()) for frame in (model.userFactors, model.itemFactors)]
    u, i, r = (train[name].to_numpy() for name in ("userId", "movieId", "rating"))
    p, q = (np.array([side[k] for k in ids]) for side, ids in zip(sides, (u.tolist(), i.tolist()), strict=True))
    score = (p * q).sum(1)
    if not form.get("implicitPrefs"):
        return float(((r - score) ** 2).sum() + form["regParam"] * ((p * p).sum() + (q * q).sum()))
    positive = r > 0
    grams = [np.array(list(side.values())) for side in sides]
    cells = float(((grams[0].T @ grams[0]) * (grams[1].T @ grams[1])).sum()) - (score**2).sum()
    confident = ((1 + form["alpha"] * np.abs(r)) * (positive - score) ** 2).sum()
    return float(cells + confident + form["regParam"] * ((p[positive] ** 2).sum() + (q[positive] ** 2).sum()))


@pytest.mark.parametrize("name", FORMS)
def test_five_seeds_of_both_end_in_like_minima(ratings: DataFrame, name: str) -> None:
    form = FORMS[name]
    train, test = ratings.where(~F.col("held_out")).cache(), ratings.where("held_out")
    label = (F.col("rating") > 0).cast("double") if form.get("implicitPrefs") else F.col("rating")
    evaluator, table = RegressionEvaluator(labelCol="label"), train.toArrow()
    found: dict[str, list[tuple[float, float]]] = {"spark": [], "ours": []}
    for seed in SEEDS:
        for who, als in (
            ("spark", ALS(**SHARED | form, seed=seed, coldStartStrategy="drop").setNumBlocks(2)),
            ("ours", BlockALS.sparkDefaults(**SHARED | form, seed=seed, coldStartStrategy="drop")),
        ):
            model = als.fit(train)
            error = evaluator.evaluate(model.transform(test.withColumn("label", label)))
            found[who].append((objective(model, table, form), error))
    spark_mean, our_mean = (np.mean(found[who], axis=0) for who in ("spark", "ours"))
    print(f"\n{name}: J and test RMSE of pyspark.ml.ALS {spark_mean}, of BlockALS {our_mean}, one by one {found}")
    assert our_mean[0] <= spark_mean[0] * 1.001
    assert our_mean[1] <= spark_mean[1] + 0.002
    train.unpersist()


def test_defaults_are_better_than_sparks(ratings: DataFrame) -> None:
    """The import changed and nothing else."""
    train, test = ratings.where(~F.col("held_out")).cache(), ratings.where("held_out")
    columns = {"userCol": "userId", "itemCol": "movieId", "coldStartStrategy": "drop"}
    evaluator = RegressionEvaluator(labelCol="rating")
    theirs, ours = (evaluator.evaluate(als(**columns).fit(train).transform(test)) for als in (ALS, BlockALS))
    print(f"\ndefaults: test RMSE of pyspark.ml.ALS {theirs:.4f}, of BlockALS {ours:.4f}")
    assert ours < theirs
    train.unpersist()


def test_cross_validation_over_rank_and_reg_param(ratings: DataFrame) -> None:
    als = BlockALS(userCol="userId", itemCol="movieId", coldStartStrategy="drop", maxIter=5)
    grid = ParamGridBuilder().addGrid(als.rank, [4, 12]).addGrid(als.regParam, [0.02, 0.1]).build()
    evaluator = RegressionEvaluator(labelCol="rating")
    found = CrossValidator(
        estimator=als, estimatorParamMaps=grid, evaluator=evaluator, numFolds=3, parallelism=2, seed=1
    ).fit(ratings.drop("held_out"))
    print(f"\ncross-validated RMSE by (rank, regParam): {[round(m, 4) for m in found.avgMetrics]}")
    best = grid[int(np.argmin(found.avgMetrics))]
    assert found.bestModel.rank == best[als.rank]
    assert best[als.regParam] == 0.1  # the weaker one overfits
