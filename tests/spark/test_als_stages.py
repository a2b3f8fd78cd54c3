"""The engine over Spark stages: the same bits as in one process, whatever happens to the files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from leaks import persisted
from problems import Problem, problem
from recsys_spark.als import adding
from recsys_spark.als import stages as module
from recsys_spark.als.model import MEASURED, FittedModel
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.stages import Stages, remove_shuffle
from recsys_spark.als.train import HalfStep, train
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import FitError

SIDE = SideSettings(reg=2.0, reg_bias=1.0, reg_features=1.5, reg_feature_bias=1.5)
SETTINGS = AlsSettings(rank=3, max_iter=3, seed=1, user=SIDE, item=SIDE)


def bits(model: FittedModel) -> list[bytes]:
    arrays = [a for s in (model.user, model.item) for a in (s.factors, s.biases, s.projection, s.projection_bias)]
    history = model.history.drop_columns(list(MEASURED))
    return [a.tobytes() for a in arrays] + [np.asarray(c).tobytes() for c in history.columns]


def features(spark: SparkSession, p: Problem) -> dict:
    return {s: spark.createDataFrame(t) for s, t in ((USERS, p.user_features), (ITEMS, p.item_features))}


@pytest.fixture
def stages(spark: SparkSession) -> Iterator:
    """Makes executors over stages; closes them."""
    made: list = []

    def make(p: Problem, grid: tuple[int, int] = (2, 3)) -> Stages:
        ratings = EncodedRatings(spark.createDataFrame(p.ratings).repartition(3))
        tables = features(spark, p)
        plan = spark.sparkContext.broadcast(plan_blocks(ratings, tables, (len(p.columns[0]), len(p.columns[1])), grid))
        executor = Stages(spark.sparkContext, plan.value, block_records(ratings, tables, plan), f"test-{len(made)}")
        made.extend((executor, ratings))
        return executor

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (7, 7)])
def test_stages_give_the_bits_of_one_process(stages, grid: tuple[int, int]) -> None:
    p = problem()
    assert bits(train(stages(p, grid), SETTINGS, p.columns)) == bits(train(p.executor(), SETTINGS, p.columns))


def test_static_biases_through_the_exchange(stages) -> None:
    p = problem()
    side = SIDE.model_copy(update={"bias": "static"})
    settings = SETTINGS.model_copy(update={"user": side, "item": side})
    assert bits(train(stages(p), settings, p.columns)) == bits(train(p.executor(), settings, p.columns))


def test_lost_truncated_and_altered_block_files_are_rebuilt(stages) -> None:
    p = problem()
    root = Path(SparkFiles.getRootDirectory()) / "recsys-spark-blocks"

    def damage(event: object) -> None:
        if isinstance(event, HalfStep) and event.side == ITEMS:
            files = sorted(root.rglob("*.blk"))
            assert files
            for file in files[:-2]:
                file.unlink()
            files[-1].write_bytes(b"short")
            altered = bytearray(files[-2].read_bytes())
            altered[len(altered) // 2] ^= 1
            files[-2].write_bytes(altered)

    executor = stages(p)
    assert bits(train(executor, SETTINGS, p.columns, watch=damage)) == bits(train(p.executor(), SETTINGS, p.columns))
    shutil.rmtree(root)
    train(executor, SETTINGS, p.columns)


@pytest.mark.parametrize("nonnegative", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sums_that_are_too_many_for_the_driver_are_added_on_executors(
    stages, monkeypatch: pytest.MonkeyPatch, nonnegative: bool
) -> None:
    p = problem()
    settings = SETTINGS.model_copy(update={"nonnegative": nonnegative, "max_iter": 2})
    alone = bits(train(p.executor(), settings, p.columns))
    removed: list[object] = []

    def spy(sc: object, shuffled: object) -> None:
        removed.append(shuffled)
        remove_shuffle(sc, shuffled)

    monkeypatch.setattr(module, "remove_shuffle", spy)
    monkeypatch.setattr(adding, "LIMIT", 0 if nonnegative else 1 << 10)
    executor, root = stages(p, (5, 4)), Path(SparkFiles.getRootDirectory()) / "recsys-spark-blocks"

    def damage(event: object) -> None:
        if isinstance(event, HalfStep) and event.side == USERS and event.iteration == 1:
            for file in sorted(root.rglob("*.blk"))[::2]:
                file.unlink()

    assert bits(train(executor, settings, p.columns, watch=damage)) == alone
    assert len(removed) >= 2 * settings.max_iter  # one for each projection, more where many files were missing


def test_nothing_is_left_behind(spark: SparkSession) -> None:
    sc = spark.sparkContext
    before = persisted(spark)
    p = problem()
    ratings = EncodedRatings(spark.createDataFrame(p.ratings))
    plan = sc.broadcast(plan_blocks(ratings, {}, (0, 0), (2, 2)))
    executor = Stages(sc, plan.value, block_records(ratings, {}, plan), "left")
    root = Path(SparkFiles.getRootDirectory()) / "recsys-spark-blocks" / "left"
    assert root.is_dir()
    assert persisted(spark) - before
    bad = SIDE.model_copy(update={"reg": 0.0})
    with pytest.raises(FitError, match="has no unique solution"):
        train(executor, SETTINGS.model_copy(update={"user": bad, "item": bad, "rank": 16}))
    executor.close()
    ratings.close()
    assert persisted(spark) <= before
    assert not root.exists()
