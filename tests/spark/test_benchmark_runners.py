"""What contenders do with their ratings, in the tests' own session."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.find_spark_home import _find_spark_home
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import lake
from recsys_spark.benchmark.data import Prepared, prepare, write
from recsys_spark.benchmark.estimate import Data, routed_rows
from recsys_spark.benchmark.launch import measure
from recsys_spark.benchmark.runners.block_als import BlockAls
from recsys_spark.benchmark.runners.in_memory import errors as array_errors
from recsys_spark.benchmark.runners.on_spark import derived, errors, shuffled, stage_sum
from recsys_spark.benchmark.runners.spark_als import SparkAls
from recsys_spark.benchmark.schedule import plan_of
from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, TEST, FitOrder, SparkChoice, Spec
from recsys_spark.config import Contender, Settings, load_settings, step_root
from recsys_spark.errors import DataError
from recsys_spark.generate.preset import PRESETS
from recsys_spark.ingest import split_job
from recsys_spark.kernels.cache import writable_dir
from recsys_spark.schema import ITEM, PREDICTION, RATING, SPLIT_DDL, USER

TWO = FitOrder(max_iter=2, judged=True)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        folder = str(tmp_path_factory.mktemp("lake"))
        yield load_settings([], ["benchmark.rank=4"], {"dataset": "tiny", "workdir": folder})


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, settings: Settings) -> Prepared:
    return prepare(spark, settings, argparse.Namespace())


def spec(settings: Settings, prepared: Prepared, name: str, **changes: Any) -> Spec:
    plan = plan_of(settings, settings.benchmark, settings.benchmark.known[name])
    plan = plan.model_copy(update={"spark": SparkChoice(blocks=2, cache=False), **changes})
    return Spec(
        name=name, plan=plan, data=prepared.data, features=prepared.features, fits=(), cores=2, driver_memory="1g"
    )


@pytest.fixture(scope="module")
def known(prepared: Prepared) -> pd.DataFrame:
    return pd.read_parquet(f"{prepared.data}/{KNOWN}")


def test_data(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    known = spark.read.parquet(f"{prepared.data}/{KNOWN}")
    assert known.dtypes == [("user", "int"), ("item", "int"), ("rating", "float"), (HELD_OUT, "boolean")]
    split = lake.read_table(spark, split_job.split_root(settings), "ratings")
    assert prepared.rows["test"] == split.where("fold = 0").count()
    assert known.count() == split.where("fold <> 0").count() == prepared.rows["train"] + prepared.rows["validation"]
    assert prepared.rows["validation"] == known.where(HELD_OUT).count() > 0
    made = lake.current(spark, step_root(settings, "raw"), "generate").manifest
    assert prepared.oracle_rmse == made.extra["oracle_rmse"]


@pytest.mark.slow
def test_a_cluster_of_executors(
    settings: Settings, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, in a process of its own: rows pass from executor to executor, and nothing of it is left behind."""
    order = spec(settings, prepared, "blockals_biases", exchange="shuffle").model_copy(
        update={"executors": 2, "cores": 1, "fits": (FitOrder(max_iter=2),)}
    )
    for part in Path(_find_spark_home()).iterdir():  # other tests' clusters leave their files meanwhile in the real one
        if part.name != "work":
            (tmp_path / part.name).symlink_to(part)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    kernels = writable_dir()
    assert kernels is not None
    found = measure(order, interval=0.5, kernels=str(kernels.parent))
    course, size = found.outcome.phases[0].course, found.outcome.size
    rows = {side: routed_rows(getattr(size, side), size.ratings, blocks=2) for side in ("users", "items")}
    bound = sum(rows.values()) * Data(size.users, size.items, size.ratings, rank=4).row
    assert 0.5 * bound < course.moved / len(course.seconds) <= bound
    assert len(course.seconds) == len(course.phases["compute"]) == 2
    assert np.sum(list(course.phases.values()), axis=0) == pytest.approx(course.seconds)
    assert (tmp_path / "work").is_dir()
    assert not list((tmp_path / "work").iterdir())


def test_derived_ratings_are_the_same_rows_and_no_bare_scan(spark: SparkSession, prepared: Prepared) -> None:
    known = spark.read.parquet(f"{prepared.data}/{KNOWN}")
    kept = shuffled(known)
    try:
        rows = derived(kept)
        assert "Exchange" in rows._jdf.queryExecution().toString()
        assert "coalesce" in rows._jdf.queryExecution().optimizedPlan().toString()
        assert rows.select(known.columns).exceptAll(known).count() == 0
        assert rows.count() == known.count()
    finally:
        kept.unpersist()


def test_residuals_are_what_shrunken_biases_leave(
    spark: SparkSession, settings: Settings, prepared: Prepared, known: pd.DataFrame
) -> None:
    runner = SparkAls(spark, spec(settings, prepared, "pyspark_residuals"))
    model = runner.fit(FitOrder(max_iter=0))
    train = known[~known[HELD_OUT]].astype({RATING: "float64"})
    mean = train[RATING].mean()
    regs = settings.train.item.reg_bias, settings.train.user.reg_bias
    item = (train[RATING] - mean).groupby(train[ITEM]).agg(["sum", "count"])
    item = item["sum"] / (item["count"] + regs[0])
    user = (train[RATING] - mean - train[ITEM].map(item)).groupby(train[USER]).agg(["sum", "count"])
    user = user["sum"] / (user["count"] + regs[1])
    one, other = int(user.index[0]), int(item.index[0])
    pairs = spark.createDataFrame([(one, other), (-1, other), (one, -1), (-1, -1)], "user int, item int")
    predicted = {(row[USER], row[ITEM]): row[PREDICTION] for row in runner.predict(model, pairs).collect()}
    assert predicted[-1, other] == pytest.approx(mean + item[other], abs=1e-6)
    assert predicted[one, -1] == pytest.approx(mean + user[one], abs=1e-6)
    assert predicted[-1, -1] == pytest.approx(mean, abs=1e-6)
    # Factors after no iteration are random, and far from nothing.
    assert predicted[one, other] != pytest.approx(mean + item[other] + user[one], abs=1e-4)


def test_the_same_model_at_the_same_λ(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    """BlockALS without biases is Spark's very model: after a few iterations their errors meet."""
    order = FitOrder(max_iter=8, reg=0.2, judged=True)
    found = []
    for name, runner in (("blockals_factors", BlockAls), ("pyspark", SparkAls)):
        contender = runner(spark, spec(settings, prepared, name))
        found.append(contender.judge(contender.fit(order)))
    ours, theirs = found
    assert ours.validation_rmse == pytest.approx(theirs.validation_rmse, rel=0.05)
    assert (ours.rows, ours.unknown) == (theirs.rows, theirs.unknown)
    assert theirs.rows == prepared.rows["test"]


def test_centred_ratings_get_their_mean_back(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    runner = SparkAls(spark, spec(settings, prepared, "pyspark_centred", reg=100.0))
    judged = runner.judge(runner.fit(TWO))
    test = pd.read_parquet(f"{prepared.data}/{TEST}")[RATING]
    # λ leaves nothing of the factors, so the mean alone predicts.
    assert judged.test_rmse == pytest.approx(float(test.std(ddof=0)), rel=0.05)


def test_features_and_graph_are_those_that_were_asked_for(
    spark: SparkSession, settings: Settings, prepared: Prepared
) -> None:
    full = BlockAls(spark, spec(settings, prepared, "blockals_graph")).fit(TWO)
    assert {column.group for column in full.fitted.item.columns} == {"genre", "year"}
    assert full.fitted.history["graph_item"].to_pylist()[-1] > 0
    genres = Contender(groups=("genre",))
    some = plan_of(settings, settings.benchmark, genres)
    runner = BlockAls(spark, spec(settings, prepared, "blockals_features").model_copy(update={"plan": some}))
    model = runner.fit(TWO)
    columns = [(column.index, column.group, column.name) for column in model.fitted.item.columns]
    wanted = [c for c in full.fitted.item.columns if c.group == "genre"]
    assert columns == [(at, "genre", column.name) for at, column in enumerate(wanted)]
    assert np.isfinite(model.fitted.history["objective"].to_numpy()).all()
    alone = BlockAls(spark, spec(settings, prepared, "biases")).fit(TWO)
    assert (alone.rank, len(alone.fitted.item.columns)) == (0, 0)


def test_all_iterations_are_done_and_told(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    runner = BlockAls(spark, spec(settings, prepared, "blockals_features"))
    before = runner.shuffled()
    model = runner.fit(FitOrder(max_iter=12))
    course = runner.course(model)
    assert len(course.seconds) == len(course.validation) == 12  # early stopping would have ended it
    assert runner.shuffled() == before > 0  # in local mode, fits to Parquet shuffle nothing
    served = runner.serve(model)
    assert None not in served.model_dump().values()


def test_shuffled_bytes_are_spark_s_own(spark: SparkSession) -> None:
    def written(rows: int) -> int:
        before = stage_sum(spark, "shuffleWriteBytes")
        spark.range(rows).repartition(4).write.format("noop").mode("overwrite").save()
        return stage_sum(spark, "shuffleWriteBytes") - before

    assert 0 < 5 * written(1_000) < written(100_000)


def test_errors_are_clipped_and_gaps_count_as_the_mean(spark: SparkSession) -> None:
    rows = [(5.0, 9.0), (1.0, 2.0), (4.0, float("nan")), (4.0, None)]
    frame = spark.createDataFrame(rows, "rating double, prediction float")
    rmse, mae, n, unknown = errors(frame, (1.0, 5.0, 3.0))
    assert (rmse, mae) == pytest.approx(((3 / 4) ** 0.5, 3 / 4))
    assert (n, unknown) == (4, 2)
    ratings, predicted = np.array(rows, dtype=float).T
    assert array_errors(ratings, predicted, (1.0, 5.0, 3.0)) == pytest.approx((rmse, mae, n, unknown))


@pytest.mark.parametrize(
    ("user", "fold", "words"),
    [
        (2**40, 0, r"takes 32-bit integer ids; user and item ids are 1 to 1099511627776 and 1 to 2"),
        (7, 1, r"the split folds has no test rows in fold 0"),
    ],
)
def test_data_that_cannot_be_compared_on_is_refused(
    spark: SparkSession, tmp_path: Path, user: int, fold: int, words: str
) -> None:
    rows = [(1, 1, 3.0, None, 1), (user, 2, 4.0, None, fold)]
    with pytest.raises(DataError, match=words):
        lake.publish(
            spark,
            str(tmp_path),
            step="benchmark data",
            settings={},
            inputs={},
            write=lambda draft: write(draft, spark.createDataFrame(rows, SPLIT_DDL), Settings()),
        )
