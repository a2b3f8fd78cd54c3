"""BlockALS as a pyspark.ml citizen: fit, transform, save and load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chispa import assert_df_equality
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from leaks import persisted
from problems import problem
from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.errors import ConfigError, DataError

NON_DEFAULT = {
    "rank": 3, "maxIter": 2, "seed": 5, "userCol": "u", "itemCol": "i", "ratingCol": "r", "predictionCol": "p",
    "coldStartStrategy": "fallback", "numUserBlocks": 2, "numItemBlocks": 3, "regUser": 1.5, "regItem": 2.5,
    "regUserBias": 0.5, "regItemBias": 0.7, "regModeUser": "weighted", "regModeItem": "inverse_sqrt",
    "regUserPerRating": 0.01, "regItemPerRating": 0.02,
    "userBias": "static", "itemBias": "learned", "regUserFeatures": 3.0, "regItemFeatures": 4.0,
    "regUserFeatureBias": 5.0, "regItemFeatureBias": 6.0, "regItemGroups": {"genre": 2.0}, "globalMean": "none",
    "updateFeaturesEvery": 2, "relaxation": 1.5, "tol": 0.01, "patience": 2, "minIter": 1, "clip": [1.0, 5.0],
    "userGraphWeight": 0.5, "itemGraphWeight": 0.25, "nonnegative": True, "implicitPrefs": True, "alpha": 2.0,
    "unobservedWeight": 0.0, "unobservedTarget": 2.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def ratings(spark: SparkSession):
    return spark.createDataFrame(problem().ratings).coalesce(1).cache()


def small(**params) -> BlockALS:
    kept = {"rank": 3, "maxIter": 3, "regParam": 2.0, "regModeUser": "constant", "regModeItem": "constant"}
    return BlockALS(**kept | {"numUserBlocks": 1, "numItemBlocks": 1} | params)


def test_fit_and_transform(ratings) -> None:
    model = small(coldStartStrategy="fallback").fit(ratings)
    scored = model.transform(ratings)
    assert scored.columns == [*ratings.columns, "prediction"]
    assert dict(scored.dtypes)["prediction"] == "float"
    rmse = RegressionEvaluator(metricName="rmse", labelCol="rating").evaluate(scored)
    spread = ratings.select(F.stddev("rating")).first()[0]
    assert rmse < 0.6 * spread
    assert model.rank == 3
    assert model.history.count() == 3
    assert model.userFactors.columns == ["id", "features", "bias"]
    assert model.itemFactors.count() == ratings.select("item").distinct().count()


def test_features_and_validation_reach_the_engine(spark: SparkSession) -> None:
    p = problem()
    estimator = small(validationIndicatorCol="held_out")
    estimator.setItemFeatures(spark.createDataFrame(p.item_features), p.columns[1])
    estimator.setUserFeatures(spark.createDataFrame(p.user_features), p.columns[0])
    fitted = estimator.copy().fit(spark.createDataFrame(p.ratings)).fitted
    assert fitted.item.projection.shape == (3, 3)
    assert fitted.user.projection.any()
    assert np.isfinite(fitted.history["validation_rmse"].to_numpy()).all()


def test_string_ids_and_every_cold_start(spark: SparkSession, ratings) -> None:
    named = ratings.select(F.concat(F.lit("ü"), "user").alias("user"), F.col("item").cast("string"), "rating")
    test = spark.createDataFrame(
        [("nobody", "nothing"), (named.first()["user"], "nothing"), (None, None)], "user string, item string"
    )
    model = small().fit(named)
    assert [r.prediction for r in model.transform(test).collect()] == pytest.approx([np.nan] * 3, nan_ok=True)
    assert model.copy().setColdStartStrategy("drop").transform(test).count() == 0
    fallback = [r.prediction for r in model.copy().setColdStartStrategy("fallback").transform(test).collect()]
    assert fallback[0] == fallback[2] == pytest.approx(model.fitted.mu, abs=1e-6)
    assert fallback[1] != fallback[0]


def test_null_long_ids_are_unknown(spark: SparkSession, ratings) -> None:
    big = 2**60 + 1  # a float64 could not tell it from its neighbour
    shifted = ratings.select((F.col("user") + big).alias("user"), "item", "rating")
    model = small().fit(shifted)
    user, item = shifted.select("user", "item").first()
    test = spark.createDataFrame([(user, item), (user, None), (None, item)], "user long, item long")
    found = [r.prediction for r in model.transform(test).collect()]
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
    assert np.isnan(found[2])


def test_weight_two_counts_twice(spark: SparkSession, ratings) -> None:
    weighted = small(weightCol="w").fit(ratings.withColumn("w", F.lit(2.0)))
    doubled = small().fit(ratings.unionAll(ratings))
    assert weighted.fitted.user.counts.tolist() == doubled.fitted.user.counts.tolist()
    np.testing.assert_allclose(weighted.fitted.item.factors, doubled.fitted.item.factors, atol=1e-4)
    ignored = small(weightCol="w").fit(
        ratings.withColumn("w", F.lit(1.0)).unionAll(ratings.withColumn("w", F.lit(0.0)))
    )
    assert ignored.fitted.user.counts.tolist() == (doubled.fitted.user.counts / 2).tolist()


def test_the_model_survives_saving(ratings, tmp_path: Path) -> None:
    model = small(seed=3).fit(ratings)
    path = f"file:{tmp_path}/a model"
    model.write().save(path)
    loaded = BlockALSModel.load(path)
    assert loaded.uid == model.uid
    assert loaded.extractParamMap().values() is not None
    assert {p.name: v for p, v in loaded.extractParamMap().items()} == {
        p.name: v for p, v in model.extractParamMap().items()
    }
    assert_df_equality(loaded.transform(ratings), model.transform(ratings), ignore_row_order=True)
    with pytest.raises(DataError, match="already exists: save elsewhere"):
        model.write().save(path)
    model.write().overwrite().save(path)
    BlockALSModel.load(path)


def test_every_param_survives_saving_the_estimator(tmp_path: Path) -> None:
    estimator = BlockALS(**NON_DEFAULT)
    estimator.save(str(tmp_path / "estimator"))
    loaded = BlockALS.load(str(tmp_path / "estimator"))
    for name, value in NON_DEFAULT.items():
        assert loaded.getOrDefault(name) == value, name
    assert loaded.settings() == estimator.settings()


def test_settings_and_params_say_the_same() -> None:
    settings = AlsSettings(
        rank=7,
        max_iter=4,
        clip=(0.5, 5.0),
        user=SideSettings(reg=9, bias="none"),
        item=SideSettings(reg_groups={"g": 2}),
    )
    assert BlockALS.fromSettings(settings).settings() == settings
    assert BlockALS(regParam=0.5, regItem=0.7).settings().user.reg == 0.5
    assert BlockALS(regParam=0.5, regItem=0.7).settings().item.reg == 0.7
    with pytest.raises(ConfigError, match=r"rank: .*greater than or equal to 0, found -1; regModeUser: .*found 'cube'"):
        BlockALS(rank=-1, regModeUser="cube").settings()
    with pytest.raises(TypeError, match="'often' is not one of nan, drop, fallback"):
        BlockALS(coldStartStrategy="often")
    with pytest.raises(TypeError, match="a dict of feature group to number is wanted"):
        BlockALS(regItemGroups=3)


def test_inside_a_pipeline(ratings, tmp_path: Path) -> None:
    model = Pipeline(stages=[small()]).fit(ratings)
    model.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    assert loaded.transform(ratings).count() == ratings.count()


def test_missing_columns_and_other_types_are_named(spark: SparkSession, ratings) -> None:
    with pytest.raises(DataError, match=r"no column 'stars' \(of the rating\) in the data, which have user, item, "):
        small(ratingCol="stars").fit(ratings)
    model = small().fit(ratings)
    with pytest.raises(DataError, match=r"no column 'user' \(of the user\) in the data"):
        model.transform(ratings.drop("user"))
    with pytest.raises(DataError, match="item column 'item' is string, but the model's item ids are int64"):
        model.transform(ratings.withColumn("item", F.col("item").cast("string")))


def test_nothing_is_left_after_a_fit(spark: SparkSession, ratings) -> None:
    before = persisted(spark)
    conf = dict(spark.sparkContext.getConf().getAll())
    small().fit(ratings)
    assert persisted(spark) <= before
    assert dict(spark.sparkContext.getConf().getAll()) == conf
