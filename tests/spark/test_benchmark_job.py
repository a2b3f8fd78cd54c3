"""The benchmark at demo size: its data, both contenders in processes of their own, and what the job makes of them."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from recsys_spark import lake
from recsys_spark.benchmark import job, trials
from recsys_spark.benchmark.contender import derived, read, rmse, shuffled
from recsys_spark.benchmark.data import Prepared, prepare, write
from recsys_spark.benchmark.launch import Measured, measure
from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, OURS, SPARK, Contender, FitOrder, SparkChoice
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.errors import DataError
from recsys_spark.ingest import split_job
from recsys_spark.kernels.cache import cache_dir
from recsys_spark.schema import SPLIT_DDL

QUICK = [
    "train.max_iter=3",
    "evaluate.pyspark.iterations=3",
    "benchmark.blocks=[2]",
    "benchmark.cache=[true]",
    "benchmark.rank=4",
    "benchmark.cores=2",
    "benchmark.driver_memory=1g",
    'benchmark.conf={"spark.sql.shuffle.partitions": "2"}',
]
FITS = [FitOrder(max_iter=n) for n in (0, 1, 6)]
ARGS = argparse.Namespace(rank=None, repeats=1, kernels=False, scaling=False, convergence=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings([], QUICK, {"dataset": "demo", "workdir": str(tmp_path_factory.mktemp("lake"))})


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, settings: Settings) -> Prepared:
    return prepare(spark, settings, ARGS)


@pytest.fixture(scope="module")
def measured(settings: Settings, prepared: Prepared) -> dict[str, Measured]:
    """Both contenders, measured once, and side by side to be done sooner: nobody is interested in their times."""

    def one(contender: Contender) -> Measured:
        choice = SparkChoice(blocks=2, cache=True)
        spec = trials.make_spec(settings, settings.benchmark, prepared, contender, FITS, choice, 3)
        return measure(spec, interval=0.1, kernels=str(cache_dir()))

    with ThreadPoolExecutor() as pool:
        return dict(zip((OURS, SPARK), pool.map(one, (OURS, SPARK)), strict=True))


@pytest.fixture(scope="module")
def result(spark: SparkSession, settings: Settings, measured: dict[str, Measured]) -> JobResult:
    """The job, whose processes are those measured already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "measure", lambda spec, **_: measured[spec.contender])
        return job.run(spark, settings, ARGS, keep_session=True)


def test_data(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    known = spark.read.parquet(f"{prepared.data}/{KNOWN}")
    assert known.dtypes == [("user", "int"), ("item", "int"), ("rating", "float"), (HELD_OUT, "boolean")]
    split = lake.read_table(spark, split_job.split_root(settings), "ratings")
    assert prepared.rows["test"] == split.where("fold = 0").count()
    assert known.count() == split.where("fold <> 0").count() == prepared.rows["train"] + prepared.rows["validation"]
    assert prepared.rows["validation"] == known.where(HELD_OUT).count() > 0
    made = lake.current(spark, step_root(settings, "raw"), "generate").manifest
    assert prepared.oracle_rmse == made.extra["oracle_rmse"]


def test_derived_ratings_are_the_same_rows_and_no_bare_scan(spark: SparkSession, prepared: Prepared) -> None:
    known, kept = read(spark, prepared.data), shuffled(spark, prepared.data)
    try:
        rows = derived(kept)
        assert "Exchange" in rows._jdf.queryExecution().toString()
        assert "coalesce" in rows._jdf.queryExecution().optimizedPlan().toString()
        assert rows.select(known.columns).exceptAll(known).count() == 0
        assert rows.count() == known.count()
    finally:
        kept.unpersist()


@pytest.mark.parametrize("contender", [OURS, SPARK])
def test_a_process_answers_for_itself(contender: str, measured: dict[str, Measured], prepared: Prepared) -> None:
    outcome = measured[contender].outcome
    assert [(phase.max_iter, phase.source) for phase in outcome.phases] == [(f.max_iter, f.source) for f in FITS]
    assert all(a.end < b.start for a, b in zip(outcome.phases, outcome.phases[1:], strict=False))
    # Nothing of a fit is left to do when it returns, so its wall time is its time.
    assert all(phase.left < 0.5 * phase.seconds + 0.5 for phase in outcome.phases)
    assert outcome.quality is not None
    assert outcome.quality.transform > 0
    assert outcome.quality.top_n > 0
    assert (outcome.quality.rows, outcome.quality.iterations) == (prepared.rows["test"], 3)
    assert 0.75 < outcome.quality.test_rmse < 1.2
    assert 300 < measured[contender].peak / 2**20 < 4000


def test_only_ours_keeps_a_history_and_only_spark_has_a_blas(measured: dict[str, Measured]) -> None:
    ours, spark = measured[OURS].outcome, measured[SPARK].outcome
    assert [len(phase.history) for phase in ours.phases] == [0, 1, 6]
    assert sum(ours.phases[2].history) < ours.phases[2].seconds
    assert [phase.history for phase in spark.phases] == [()] * 3
    assert ours.blas is None
    assert spark.blas is not None
    assert spark.blas.startswith("dev.ludovic.netlib.blas.")
    assert ours.versions["version.pyspark"] == spark.versions["version.pyspark"] != "none"


def test_the_job_s_line_and_record(result: JobResult, settings: Settings, prepared: Prepared) -> None:
    assert result.metrics["oracle_rmse"] < result.metrics["ours.test_rmse"] < result.metrics["spark.test_rmse"]
    for name in ("ratios.build", "ratios.memory", "ratios.transform", "ratios.top_n"):
        assert result.metrics[f"{name}.min"] == result.metrics[name] == result.metrics[f"{name}.max"] > 0
    path = Path(result.outputs["record"])
    assert path.parent == Path(step_root(settings, "benchmark"), "runs")
    record = json.loads(path.read_text())
    assert record["options"] == settings.benchmark.model_copy(update={"repeats": 1}).model_dump(mode="json")
    assert record["metrics"]["ratios.memory"] == result.metrics["ratios.memory"]
    assert record["rows"] == prepared.rows
    assert {"machine.cpu", "machine.cores", "machine.memory_gib", "version.java"} <= record["provenance"].keys()
    assert record["settings"]["train"] == settings.train.model_dump(mode="json")
    assert result.outputs["blas"] in result.summary


def test_the_kernels_alone_need_no_data(spark: SparkSession, tmp_path: Path) -> None:
    quick = ["benchmark.kernel_ranks=[4]", "benchmark.kernel_ratings=5000"]
    alone = load_settings([], quick, {"workdir": str(tmp_path), "dataset": "nowhere"})
    result = job.run(
        spark, alone, argparse.Namespace(rank=None, repeats=None, kernels=True, scaling=False, convergence=False)
    )
    assert 0 < result.metrics["kernels.rank_4.share"] < 1
    assert json.loads(Path(result.outputs["record"]).read_text())["kernels"][0]["rank"] == 4
    assert spark.range(1).count() == 1


def test_an_iteration_by_number_of_ratings(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    some = load_settings([], [*QUICK, "benchmark.shares=[1.0,0.5]"], {"dataset": "demo", "workdir": settings.workdir})
    found = job.run(
        spark, some, argparse.Namespace(rank=4, repeats=None, kernels=False, scaling=True, convergence=False)
    ).metrics
    assert found["scaling.share_1.ratings"] == prepared.rows["train"] + prepared.rows["validation"]
    assert 0.4 < found["scaling.share_0.5.ratings"] / found["scaling.share_1.ratings"] < 0.6
    assert 0 < found["scaling.share_0.5.compute"] < found["scaling.share_0.5.seconds"]


def test_iterations_with_and_without_relaxation(spark: SparkSession, settings: Settings, prepared: Prepared) -> None:
    some = load_settings([], [*QUICK, "benchmark.curve=12"], {"dataset": "demo", "workdir": settings.workdir})
    args = argparse.Namespace(rank=None, repeats=None, kernels=False, scaling=False, convergence=True)
    result = job.run(spark, some, args)
    plain, relaxed = json.loads(Path(result.outputs["record"]).read_text())["convergence"]
    assert (plain["relaxation"], relaxed["relaxation"]) == (1.0, some.train.relaxation)
    assert len(plain["objective"]) == len(relaxed["objective"]) == 12
    at = int(result.metrics["convergence.reached.12"])
    assert relaxed["objective"][at - 1] <= plain["objective"][-1] < relaxed["objective"][at - 2]
    assert at < 12
    assert f"{plain['objective'][-1]:,.1f}" in result.summary


def test_rmse_is_clipped_and_gaps_count_as_the_mean(spark: SparkSession) -> None:
    train = spark.createDataFrame([(1.0,), (5.0,), (3.0,)], "rating double")
    rows = [(5.0, 9.0), (1.0, 2.0), (4.0, float("nan")), (4.0, None)]
    value, n, unknown = rmse(spark.createDataFrame(rows, "rating double, prediction float"), train)
    assert value == pytest.approx(((0 + 1 + 1 + 1) / 4) ** 0.5)
    assert (n, unknown) == (4, 2)


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
