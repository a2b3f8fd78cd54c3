"""BlockALS among other citizens of pyspark.ml: Pipelines, tuning, param maps, persistence, Spark's own example."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyspark
import pytest
from chispa import assert_df_equality
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder, TrainValidationSplit
from pyspark.sql import DataFrame, SparkSession

from fit_bits import bits
from leaks import persisted
from problems import problem
from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import FitError
from recsys_spark.ml import estimator

EXAMPLE = Path(pyspark.__file__).parent / "examples/src/main/python/ml/als_example.py"
P = problem(users=25, items=20, held_out=0.0)


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    table = spark.createDataFrame(P.ratings).select("user", "item", "rating").coalesce(1).cache()
    table.count()
    return table


def small(**params) -> BlockALS:
    return BlockALS(**{"rank": 2, "maxIter": 2, "coldStartStrategy": "drop"} | params)


def with_all_tables(spark: SparkSession) -> BlockALS:
    als = small(itemGraphWeight=0.5)
    als.setUserFeatures(spark.createDataFrame(P.user_features), P.columns[USERS])
    als.setItemFeatures(spark.createDataFrame(P.item_features), P.columns[ITEMS])
    known = P.item_features["id"].to_pylist()
    return als.setItemGraph(spark.createDataFrame(pa.table({"i": known[:3], "j": known[3:6], "s": [1.0, 0.5, 2.0]})))


def test_the_example_of_sparks_guide_runs_after_changing_the_import(spark: SparkSession, capsys) -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    changed = source.replace("from pyspark.ml.recommendation import ALS", "from recsys_spark import BlockALS as ALS")
    assert changed != source
    data = Path(pyspark.__file__).parent / "data"
    for old, new in (('"data/', f'"file:{data}/'), ("spark.stop()", "")):  # the session is the tests'
        assert old in changed
        changed = changed.replace(old, new)
    if not hasattr(BlockALSModel, "recommendForAllUsers"):
        changed = changed.split("    # Generate top 10 movie recommendations for each user")[0]
    exec(compile(changed, str(EXAMPLE), "exec"), {"__name__": "__main__"})
    error = float(capsys.readouterr().out.split("Root-mean-square error = ")[1].split()[0])
    assert 0 < error < 2.5


def test_param_maps_one_many_and_in_turn(ratings: DataFrame) -> None:
    als = small()
    maps = [{als.rank: 1}, {als.rank: 3, als.regParam: 0.5}, {als.userCol: "item", als.itemCol: "user"}]
    models = als.fit(ratings, maps)
    assert [m.rank for m in models] == [1, 3, 2]
    assert [m.fitted.settings.user.reg for m in models] == [0.1, 0.5, 0.1]
    assert models[2].fitted.user.ids.equals(models[1].fitted.item.ids)
    assert models[2].getUserCol() == "item"
    assert {m.uid for m in models} == {als.uid}
    assert als.getRank() == 2
    in_turn = dict(als.fitMultiple(ratings, maps[:2]))
    assert [bits(in_turn[n].fitted) for n in (0, 1)] == [bits(m.fitted) for m in models[:2]]
    assert bits(als.fit(ratings, maps[1]).fitted) == bits(models[1].fitted)
    with pytest.raises(TypeError, match="Params must be either a param map or a list/tuple of param maps"):
        als.fit(ratings, "rank")


@pytest.fixture
def readings(monkeypatch) -> list[EncodedRatings]:
    """All readings of ratings that the test's fits make."""
    made = []
    monkeypatch.setattr(estimator, "EncodedRatings", lambda *a, **k: made.append(EncodedRatings(*a, **k)) or made[-1])
    return made


def test_many_fits_read_the_ratings_once(spark: SparkSession, ratings: DataFrame, readings: list) -> None:
    before = persisted(spark)
    als = small()
    maps = [{als.rank: 1}, {als.rank: 30, als.regParam: 0.0, als.regUserBias: 0.0}, {als.regParam: 0.5}]
    fits = als.fitMultiple(ratings, [*maps, {als.userCol: "item", als.itemCol: "user"}])
    assert not readings  # nothing is read before the first fit
    assert next(fits)[1].rank == 1
    with pytest.raises(FitError, match="reg"):
        next(fits)
    assert len(readings) == 1
    assert readings[0]._coded.getStorageLevel().useDisk
    next(fits)
    assert not readings[0]._coded.getStorageLevel().useDisk
    next(fits)  # other columns: a reading of its own
    assert len(readings) == 2
    abandoned = als.fitMultiple(ratings, maps)
    next(abandoned)
    assert readings[2]._coded.getStorageLevel().useDisk
    del abandoned
    gc.collect()
    assert persisted(spark) <= before


def test_fits_at_the_same_time_in_one_context_keep_apart(spark: SparkSession, ratings: DataFrame) -> None:
    before, settings = persisted(spark), dict(spark.conf.getAll)
    estimators = [small(rank=r, execution=e, numUserBlocks=2) for r, e in ((2, "stages"), (3, "task"), (3, "stages"))]
    broken = small(rank=30, regParam=0.0, regUserBias=0.0, regItemBias=0.0, execution="stages")
    with ThreadPoolExecutor(4) as pool:
        failing = pool.submit(broken.fit, ratings)
        at_once = list(pool.map(lambda e: bits(e.fit(ratings).fitted), estimators))
        with pytest.raises(Exception, match="reg"):
            failing.result()
    assert at_once == [bits(e.fit(ratings).fitted) for e in estimators]
    assert persisted(spark) <= before
    assert dict(spark.conf.getAll) == settings


def test_what_a_fit_keeps_is_its_own(ratings: DataFrame) -> None:
    als = small()
    first, second = (als._encoded(ratings, ratings) for _ in range(2))
    first.close()
    assert not first._coded.getStorageLevel().useDisk
    assert second._coded.getStorageLevel().useDisk
    second.close()


def test_inside_a_pipeline_and_a_cross_validator(spark: SparkSession, ratings: DataFrame, tmp_path: Path) -> None:
    als = small().setItemFeatures(spark.createDataFrame(P.item_features), P.columns[ITEMS])
    grid = ParamGridBuilder().addGrid(als.rank, [0, 2]).build()
    evaluator = RegressionEvaluator(labelCol="rating")
    cv = CrossValidator(
        estimator=Pipeline(stages=[als]),
        estimatorParamMaps=grid,
        evaluator=evaluator,
        numFolds=2,
        parallelism=2,
        seed=1,
    )
    found = cv.fit(ratings)
    assert len(set(found.avgMetrics)) == 2
    assert found.bestModel.stages[0].rank == (0, 2)[found.avgMetrics.index(min(found.avgMetrics))]
    found.write().overwrite().save(str(tmp_path / "cv"))
    loaded = CrossValidatorModel.load(str(tmp_path / "cv"))
    assert_df_equality(loaded.transform(ratings), found.transform(ratings), ignore_row_order=True)
    # The estimator came back with its table.
    assert loaded.getEstimator().getStages()[0]._features[ITEMS][0].count() == len(P.item_features)


@pytest.mark.slow
def test_inside_a_train_validation_split(ratings: DataFrame) -> None:
    als = small()
    grid = ParamGridBuilder().addGrid(als.rank, [0, 2]).build()
    evaluator = RegressionEvaluator(labelCol="rating", metricName="mae")
    split = TrainValidationSplit(
        estimator=als, estimatorParamMaps=grid, evaluator=evaluator, parallelism=2, seed=1, collectSubModels=True
    )
    found = split.fit(ratings)
    assert [m.rank for m in found.subModels] == [0, 2]
    assert found.bestModel.rank == (0, 2)[found.validationMetrics.index(min(found.validationMetrics))]


def test_copies_share_tables_and_own_their_params(spark: SparkSession) -> None:
    als = with_all_tables(spark)
    copied = als.copy({als.rank: 7})
    assert copied.uid == als.uid
    assert (copied.getRank(), als.getRank()) == (7, 2)
    assert all(copied._features[s][0] is als._features[s][0] for s in (USERS, ITEMS))
    assert copied._graphs[ITEMS] is als._graphs[ITEMS]
    copied.setItemFeatures(spark.createDataFrame(P.item_features), P.columns[ITEMS])
    assert copied._features[ITEMS][0] is not als._features[ITEMS][0]


def test_an_estimator_survives_saving_with_its_tables(spark: SparkSession, ratings: DataFrame, tmp_path: Path) -> None:
    als = with_all_tables(spark)
    als.setInitialModel(als.copy().fit(ratings))
    path = f"file:{tmp_path}/an estimator"
    als.save(path)
    loaded = BlockALS.load(path)
    assert loaded.uid == als.uid
    assert bits(loaded.fit(ratings).fitted) == bits(als.fit(ratings).fitted)
    with pytest.raises(Exception, match="already exists: save elsewhere, or with"):
        als.save(path)
    small().write().overwrite().save(path)
    assert BlockALS.load(path)._features == {}


FRESH = """
import sys
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.driver.memory", "1g")
    .config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "1").getOrCreate()
)
model = PipelineModel.load(sys.argv[1])
model.transform(spark.read.parquet(sys.argv[2])).coalesce(1).write.parquet(sys.argv[3])
print(model.stages[0].uid)
"""


@pytest.mark.slow
def test_a_saved_model_loads_in_a_fresh_process(spark: SparkSession, ratings: DataFrame, tmp_path: Path) -> None:
    als = small(userCol="user", predictionCol="p")
    model = Pipeline(stages=[als]).fit(ratings)
    model.save(str(tmp_path / "model"))
    ratings.write.parquet(str(tmp_path / "ratings"))
    paths = [str(tmp_path / name) for name in ("model", "ratings", "scored")]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *paths], cwd=root, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == als.uid
    scored = spark.read.parquet(paths[2])
    assert_df_equality(scored, model.transform(ratings), ignore_row_order=True, ignore_nullable=True)
    assert PipelineModel.load(paths[0]).uid == model.uid


def test_transform_runs_nothing_and_sends_no_single_rows_to_python(spark: SparkSession, ratings: DataFrame) -> None:
    model = small().fit(ratings)
    sc = spark.sparkContext
    sc.setJobGroup("transforming", "")
    try:
        scored = model.transform(ratings)
        assert list(sc.statusTracker().getJobIdsForGroup("transforming")) == []
        scored.count()
        assert list(sc.statusTracker().getJobIdsForGroup("transforming")) != []
    finally:
        sc.setLocalProperty("spark.jobGroup.id", None)
    plan = scored._jdf.queryExecution().executedPlan().toString()
    assert "ArrowEvalPython" in plan
    assert "BatchEvalPython" not in plan
