"""Where a fit runs and whether it is cut short does not change its result."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import chispa
import pytest
from pyspark.sql import DataFrame, SparkSession

from leaks import persisted
from problems import problem
from recsys_spark import BlockALS
from recsys_spark.als.checkpoint import LATEST, Checkpoint, LakeCheckpoints, Progress
from recsys_spark.als.inprocess import InProcess
from recsys_spark.als.intask import worth_a_task
from recsys_spark.als.model import MEASURED, FittedModel
from recsys_spark.als.spread import SpreadModel
from recsys_spark.blocks.source import BlockSource
from recsys_spark.errors import ConfigError, DataError, FitError
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.ml.running import How, exchange_by_size, way_of

PARAMS: dict[str, Any] = {
    "rank": 3, "maxIter": 4, "validationIndicatorCol": "held_out", "patience": 9,
    "numUserBlocks": 2, "numItemBlocks": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(problem().ratings)


def estimator(spark: SparkSession, **params: Any) -> BlockALS:
    p = problem()
    return BlockALS(**PARAMS | params).setItemFeatures(spark.createDataFrame(p.item_features), p.columns[1])


def bits(model: BlockALSModel) -> list[bytes]:
    fitted: FittedModel = model.fitted
    arrays = [a for s in (fitted.user, fitted.item) for a in (s.factors, s.biases, s.projection, s.projection_bias)]
    return [a.tobytes() for a in arrays] + [repr(fitted.history.drop_columns(list(MEASURED)).to_pydict()).encode()]


@pytest.fixture(scope="module")
def on_stages(spark: SparkSession, ratings: DataFrame) -> BlockALSModel:
    return estimator(spark, execution="stages").fit(ratings)


def test_a_fit_in_one_task_has_the_bits_of_one_on_stages(
    spark: SparkSession, ratings: DataFrame, on_stages: BlockALSModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recsys_spark"):
        model = estimator(spark, execution="task").fit(ratings)
    assert bits(model) == bits(on_stages)
    assert "iteration 4/4" in caplog.text


def test_small_fits_choose_the_task_and_large_ones_the_stages(
    spark: SparkSession, ratings: DataFrame, on_stages: BlockALSModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worth_a_task(100_836, 10_000, 20, 2)
    assert not worth_a_task(28_800_000, 288_000, 32, 2)
    assert worth_a_task(28_800_000, 288_000, 32, 1)

    def refuse(*args: Any) -> None:
        raise AssertionError("stages were used")

    monkeypatch.setattr("recsys_spark.ml.running.Stages", refuse)
    assert bits(estimator(spark).fit(ratings)) == bits(on_stages)


def test_what_a_fit_in_a_task_raises_is_the_same_error(spark: SparkSession, ratings: DataFrame) -> None:
    broken = BlockALS(rank=3, regUser=0.0, regItem=0.0, regUserBias=0.0, regItemBias=0.0, execution="task")
    with pytest.raises(FitError, match="has no unique solution"):
        broken.fit(ratings.limit(5))


def test_a_fit_that_was_cut_short_goes_on_from_its_checkpoint(
    spark: SparkSession,
    ratings: DataFrame,
    on_stages: BlockALSModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = LakeCheckpoints.save

    def die(self: LakeCheckpoints, fingerprint: str, checkpoint: Checkpoint) -> None:
        kept(self, fingerprint, checkpoint)
        raise KeyboardInterrupt

    params = {"execution": "stages", "checkpointDir": str(tmp_path), "checkpointInterval": 2}
    cut_short = estimator(spark, **params)
    with monkeypatch.context() as patch:
        patch.setattr(LakeCheckpoints, "save", die)
        with pytest.raises(KeyboardInterrupt):
            cut_short.fit(ratings)
    (fit,) = tmp_path.iterdir()
    assert (fit / (fit / LATEST).read_text().strip() / "state.json").is_file()
    with caplog.at_level(logging.INFO, "recsys_spark"):
        resumed = estimator(spark, **params, numUserBlocks=3).fit(ratings)
    assert "resuming after iteration 2" in caplog.text
    assert "iteration 1/4" not in caplog.text
    assert bits(resumed) == bits(on_stages)
    assert not list(tmp_path.iterdir())


def test_checkpoints_replace_one_another_and_damage_is_named(spark: SparkSession, tmp_path: Path) -> None:
    p = problem()
    from recsys_spark.als.train import train

    executor: InProcess = p.executor()
    model = train(executor, BlockALS(rank=3, maxIter=1).settings(), p.columns)
    progress = Progress(1, 1.0, 0.0, (0.1, 0.2), (0.0, 0.0), (0.3, 0.1), None, 0, None)
    store = LakeCheckpoints(spark, str(tmp_path), 1)
    assert store.load("f") is None
    store.save("f", Checkpoint(progress, model, model))
    store.save("f", Checkpoint(progress, model, model))
    assert len(list((tmp_path / "f").glob("iteration-*"))) == 1
    found = store.load("f")
    assert found is not None
    assert found.progress == progress
    (state,) = (tmp_path / "f").glob("iteration-*/state.json")
    state.write_text(state.read_text().replace('"version": "', '"version": "0.0.'))
    with pytest.raises(DataError, match=r"is of release 0\.0\..* remove"):
        store.load("f")
    state.write_text("{")
    with pytest.raises(DataError, match="cannot be read .* remove"):
        store.load("f")
    store.clear("f")
    assert store.load("f") is None


def test_an_interval_without_a_place_is_a_warning(
    spark: SparkSession, ratings: DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    context = spark.sparkContext._jsc.sc()
    set_place, before = getattr(context, "checkpointDir_$eq"), context.getCheckpointDir()
    fit = estimator(spark, execution="stages", checkpointInterval=1, maxIter=1)
    set_place(spark._jvm.scala.Option.empty())  # another test may have given the context one
    try:
        with caplog.at_level(logging.WARNING, "recsys_spark"):
            fit.fit(ratings)
    finally:
        set_place(before)
    assert "no place for checkpoints: set checkpointDir" in caplog.text


def test_an_initial_model_is_where_a_fit_begins(spark: SparkSession, ratings: DataFrame) -> None:
    first = estimator(spark, maxIter=2).fit(ratings)
    warm = estimator(spark, maxIter=1).setInitialModel(first)
    warm_objective = warm.copy().fit(ratings).fitted.history["objective"].to_pylist()[-1]
    assert warm_objective < first.fitted.history["objective"].to_pylist()[-1]


def test_routed_rows_stay_with_executors_until_they_are_asked_for(
    spark: SparkSession,
    ratings: DataFrame,
    on_stages: BlockALSModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    local = f"{tmp_path}/model"
    before = persisted(spark)
    model = estimator(spark, exchange="shuffle", checkpointDir=f"{tmp_path}/kept").fit(ratings)
    assert persisted(spark) <= before
    assert isinstance(model.trained, SpreadModel)
    strangers = spark.createDataFrame([(-1, -1, 3.0, False)], ratings.schema)
    asked = ratings.unionByName(strangers).orderBy("user", "item")
    for strategy in ("nan", "drop", "fallback"):
        whole, routed = (m.copy().setColdStartStrategy(strategy).transform(asked) for m in (on_stages, model))
        order = ["user", "item", "rating"]
        chispa.assert_df_equality(whole.orderBy(order), routed.orderBy(order), allow_nan_equality=True)
    model.write().save(local)
    loaded = BlockALSModel.load(local)
    assert isinstance(loaded.trained, SpreadModel)
    chispa.assert_df_equality(
        on_stages.itemFactors.orderBy("id"), loaded.itemFactors.orderBy("id"), ignore_nullable=True
    )
    warm = estimator(spark, maxIter=1, exchange="shuffle", checkpointDir=f"{tmp_path}/kept").setInitialModel(loaded)
    assert isinstance(loaded.trained, SpreadModel)
    routed_on, gone_on = (
        bits(warm.fit(ratings)),
        bits(estimator(spark, maxIter=1).setInitialModel(on_stages).fit(ratings)),
    )
    assert routed_on == gone_on
    with caplog.at_level(logging.WARNING, "recsys_spark"):
        assert bits(loaded) == bits(on_stages)
    assert "to the driver" in caplog.text
    assert isinstance(loaded.trained, FittedModel)


def test_the_exchange_follows_from_size_and_place(ratings: DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    small, large = (cast(BlockSource, SimpleNamespace(ratings=100, rows=rows)) for rows in ((9, 9), (40_000_000, 9)))

    def way(source: BlockSource, execution: str = "auto", exchange: str = "auto", root: str | None = "/there") -> str:
        return way_of(How(execution, exchange, root, 10), source, 32, 2)

    assert way(small) == way(large, "task") == way(small, "task", "shuffle") == "task"
    assert way(small, "stages") == way(large, exchange="broadcast") == "broadcast"
    assert way(large) == way(small, exchange="mixed") == "mixed"
    assert way(large, exchange="shuffle") == way(small, exchange="shuffle") == "shuffle"
    with caplog.at_level(logging.WARNING, "recsys_spark"):
        assert way(large, root=None) == "broadcast"
    assert "with a checkpointDir they would be routed" in caplog.text
    for exchange in ("mixed", "shuffle"):
        with pytest.raises(ConfigError, match=f"exchange is {exchange}: .* set checkpointDir"):
            way(small, exchange=exchange, root=None)


def test_auto_broadcasts_what_the_driver_and_its_results_have_room_for() -> None:
    of_rank = partial(exchange_by_size, rank=31)  # 128 bytes a row
    assert of_rank((4 << 20, 4 << 20)) == "broadcast"  # a GiB in all
    assert of_rank((4 << 20, 4 << 20), results=1 << 30) == "broadcast"
    assert of_rank((8 << 20, 4 << 20), results=1 << 30) == "mixed"  # one side is a GiB
    assert of_rank((8 << 20, 8 << 20), results=1 << 30) == "shuffle"
    assert of_rank((1 << 30, 16 << 20)) == of_rank((16 << 20, 1 << 30)) == "mixed"
    assert of_rank((1 << 30, 17 << 20)) == "shuffle"


def test_many_users_are_routed_beside_few_items(
    spark: SparkSession, ratings: DataFrame, on_stages: BlockALSModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = persisted(spark)
    with caplog.at_level(logging.INFO, "recsys_spark"):
        model = estimator(spark, exchange="mixed", checkpointDir=f"{tmp_path}/kept").fit(ratings)
    assert re.search("rows go from block to block, but (user|item)s' are broadcast", caplog.text)
    assert persisted(spark) <= before
    assert isinstance(model.trained, SpreadModel)
    assert bits(model) == bits(on_stages)
