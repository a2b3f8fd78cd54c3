"""The benchmark's job on a tiny generated release: measured processes, and what becomes of what they find."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from pyspark.sql import SparkSession

from benchmark_factory import answer
from generated import TINY
from recsys_spark.benchmark import job, schedule
from recsys_spark.benchmark.data import Prepared, prepare
from recsys_spark.benchmark.launch import Measured, measure
from recsys_spark.benchmark.schedule import plan_of
from recsys_spark.benchmark.spec import FitOrder, SparkChoice, Spec
from recsys_spark.cli import JobResult, make_parser
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.errors import ConfigError
from recsys_spark.generate.preset import PRESETS
from recsys_spark.kernels.cache import cache_dir

QUICK = [
    "benchmark.max_iter=3",
    "benchmark.blocks=[2]",
    "benchmark.cache=[true]",
    "benchmark.rank=4",
    "benchmark.cores=2",
    "benchmark.driver_memory=1g",
    'benchmark.conf={"spark.sql.shuffle.partitions": "2"}',
]
OURS, SPARK = "blockals_features", "pyspark"
FITS = [*(FitOrder(max_iter=n) for n in (0, 1)), FitOrder(max_iter=3, judged=True, served=True)]


def arguments(*given: str) -> argparse.Namespace:
    return make_parser("benchmark", "", job.add_arguments).parse_args(given)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("benchmark")
    store = {"uri": f"sqlite:///{folder}/mlflow.db"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield load_settings([], QUICK, {"dataset": "tiny", "workdir": f"{folder}/lake", "tracking": store})


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, settings: Settings) -> Prepared:
    return prepare(spark, settings, arguments())


@pytest.fixture(scope="module")
def measured(settings: Settings, prepared: Prepared) -> dict[str, Measured]:
    """Two contenders, side by side to be done sooner: nobody is interested in their times."""

    def one(name: str) -> Measured:
        plan = plan_of(settings, settings.benchmark, settings.benchmark.known[name])
        spec = Spec(
            name=name,
            plan=plan.model_copy(update={"spark": SparkChoice(blocks=2, cache=True)}),
            data=prepared.data,
            features=prepared.features,
            fits=tuple(FITS),
            cores=2,
            driver_memory="1g",
            conf=settings.benchmark.conf,
        )
        # The directory that this process and all other tests compile into: compiling takes a minute.
        return measure(spec, interval=0.1, kernels=str(cache_dir().parent))

    with ThreadPoolExecutor() as pool:
        return dict(zip((OURS, SPARK), pool.map(one, (OURS, SPARK)), strict=True))


@pytest.fixture(scope="module")
def result(spark: SparkSession, settings: Settings, prepared: Prepared) -> JobResult:
    """The job, whose processes say what they are made to say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            schedule, "measure", lambda spec, **_: answer(spec, rmse=0.9 if spec.plan.kind == "pyspark" else 0.85)
        )
        return job.run(spark, settings, arguments("--compare", "--curves", "--heap", "--scaling"), keep_session=True)


@pytest.mark.parametrize("name", [OURS, SPARK])
def test_a_process_answers_for_itself(name: str, measured: dict[str, Measured], prepared: Prepared) -> None:
    outcome = measured[name].outcome
    assert [phase.order for phase in outcome.phases] == FITS
    assert all(a.end < b.start for a, b in zip(outcome.phases, outcome.phases[1:], strict=False))
    # Nothing of a fit is left to do when it returns, so its wall time is its time.
    assert all(phase.left < 0.5 * phase.seconds + 0.5 for phase in outcome.phases)
    last = outcome.phases[-1]
    assert last.judged is not None
    assert last.judged.rows == prepared.rows["test"]
    assert 0.75 < last.judged.test_rmse < 1.6
    assert last.served is not None
    assert None not in last.served.model_dump().values()
    assert last.shuffled is not None
    assert (last.shuffled > 0) == name.startswith("pyspark")  # in local mode, ours shuffles nothing of Parquet
    assert outcome.size.ratings == prepared.rows["train"] + prepared.rows["validation"]
    assert min(outcome.size.users, outcome.size.items) > 0
    assert 300 < measured[name].peak / 2**20 < 4000


def test_only_ours_keeps_a_history_and_only_spark_has_a_blas(measured: dict[str, Measured]) -> None:
    ours, spark = measured[OURS].outcome, measured[SPARK].outcome
    assert [len(phase.course.seconds) for phase in ours.phases] == [0, 1, 3]
    assert sum(ours.phases[2].course.seconds) < ours.phases[2].seconds
    assert [phase.course.seconds for phase in spark.phases] == [()] * 3
    assert ours.blas is None
    assert spark.blas is not None
    assert spark.blas.startswith("dev.ludovic.netlib.blas.")
    assert ours.versions["version.pyspark"] == spark.versions["version.pyspark"] != "none"


def test_the_job_s_line_and_record(result: JobResult, settings: Settings, prepared: Prepared) -> None:
    assert result.metrics["blockals_features.test_rmse"] < result.metrics["pyspark.test_rmse"]
    for name in ("iteration", "build", "memory", "transform", "top_n", "to_target", "heap"):
        ratio = f"ratios.{name}"
        assert result.metrics[f"{ratio}.min"] <= result.metrics[ratio] <= result.metrics[f"{ratio}.max"]
    path = Path(result.outputs["record"])
    assert path.parents[1] == Path(step_root(settings, "benchmark"), "runs")
    record = json.loads(path.read_text())
    assert set(record["contenders"]) == set(settings.benchmark.contenders)
    assert record["rows"] == prepared.rows
    assert {"machine.cpu", "machine.cores", "machine.memory_gib", "version.java"} <= record["provenance"].keys()
    assert record["settings"]["train"] == settings.train.model_dump(mode="json")
    assert {p.name for p in (path.parent / "figures").iterdir()} == {"curves.png", "scaling.png"}
    assert "How many times as much pyspark takes as blockals_features" in result.summary
    assert "keeps no history" in result.summary


def test_a_run_with_one_nested_for_each_contender(result: JobResult, settings: Settings) -> None:
    client = mlflow.MlflowClient(tracking_uri=settings.tracking.uri)
    parent = client.get_run(result.outputs["run_id"])
    assert parent.data.metrics["ratios.iteration"] == pytest.approx(result.metrics["ratios.iteration"])
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    by_name = {run.info.run_name: run for run in children}
    assert set(by_name) == set(settings.benchmark.contenders)
    ours = by_name[OURS]
    assert ours.data.metrics["test_rmse"] == pytest.approx(result.metrics["blockals_features.test_rmse"])
    assert len(client.get_metric_history(ours.info.run_id, "validation_rmse")) >= 3


def test_the_record_s_table_goes_into_a_page(
    spark: SparkSession, settings: Settings, result: JobResult, tmp_path: Path
):
    page = tmp_path / "page.md"
    whole = "before\n<!-- benchmark tiny:begin -->\nold\n<!-- benchmark tiny:end -->\nafter\n"
    page.write_text(whole)
    job.run(spark, settings, arguments("--write-table", str(page), result.outputs["record"]), keep_session=True)
    text = page.read_text()
    assert text.startswith("before\n<!-- benchmark tiny:begin -->\n\n")
    assert text.endswith("<!-- benchmark tiny:end -->\nafter\n")
    assert "| test RMSE |" in text
    assert "data set tiny; commit " in text
    assert "What is unfair:" in text
    assert (Path(result.outputs["record"]).parent / "table.md").read_text() in text
    page.write_text(whole.replace("tiny", "tiny ratios"))
    job.run(spark, settings, arguments("--write-table", str(page), result.outputs["record"]), keep_session=True)
    assert "|  | blockals_features | pyspark | pyspark takes | least | most | repeats |" in page.read_text()
    for other in ("no marks", whole.replace("tiny", "1m")):
        page.write_text(other)
        with pytest.raises(ConfigError, match=r"page\.md has no lines <!-- benchmark tiny:begin -->"):
            job.run(spark, settings, arguments("--write-table", str(page), result.outputs["record"]), keep_session=True)


def test_the_kernels_alone_need_no_data(spark: SparkSession, tmp_path: Path) -> None:
    quick = ["benchmark.kernel_ranks=[4]", "benchmark.kernel_ratings=5000", "tracking.enabled=false"]
    alone = load_settings([], quick, {"workdir": str(tmp_path), "dataset": "nowhere"})
    result = job.run(spark, alone, arguments("--kernels"))
    assert 0 < result.metrics["kernels.rank_4.share"] < 1
    record = result.outputs["record"]
    assert json.loads(Path(record).read_text())["kernels"][0]["rank"] == 4
    assert spark.range(1).count() == 1
    with pytest.raises(ConfigError, match="holds no contenders: it is the record of --kernels alone"):
        job.run(spark, alone, arguments("--write-table", "page.md", record))
