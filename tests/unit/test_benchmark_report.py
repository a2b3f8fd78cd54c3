"""The record, the metrics and the tables of a benchmark that nobody ran."""

from __future__ import annotations

import json

import pytest

from benchmark_factory import measured
from recsys_spark.benchmark.kernels import KernelSpeed
from recsys_spark.benchmark.report import (
    Comparison,
    Trial,
    kernel_metrics,
    kernel_summary,
    plain,
    scaling_metrics,
    scaling_summary,
)
from recsys_spark.benchmark.scaling import Scaled
from recsys_spark.benchmark.spec import OURS, SPARK, SparkChoice

ROWS = {"train": 1_000_000, "validation": 50, "test": 100}


def comparison(oracle: float | None = 0.8) -> Comparison:
    fits = ((0, 10.0), (0, 8.0), (1, 9.0), (6, 14.0))
    slow = tuple((n, 4 * seconds) for n, seconds in fits)
    ours = measured(OURS, *fits, derived=9.0, history=[1.5] * 6, rmse=0.84)
    spark = measured(SPARK, *slow, derived=30.0, memory=3.0, rmse=0.92)
    sweep = [Trial(SparkChoice(blocks=b, cache=False), 40.0, 4.0, 80.0) for b in (4, 8)]
    cold = measured(OURS, (2, 30.0), history=[9.0, 1.5])
    return Comparison([ours, ours], [spark, spark], cold, sweep, ROWS, oracle)


def test_metrics():
    found = comparison().metrics()
    assert found["ratios.iteration"] == found["ratios.iteration.min"] == pytest.approx(4.0)
    assert found["ratios.memory"] == pytest.approx(3.0)
    assert found["ratios.build_derived.max"] == pytest.approx(30 / 9)
    assert (found["ours.iteration"], found["spark.iteration"]) == pytest.approx((1.0, 4.0))
    assert (found["compile.cold"], found["compile.warm"]) == pytest.approx((7.5, 0.0))
    assert (found["ours.fit_seconds"], found["spark.fit_seconds"]) == (10.0, 40.0)
    assert (found["ratios.transform"], found["ratios.top_n"], found["ours.top_n"]) == (4.0, 16.0, 1.0)
    assert found["ours.above_oracle"] == pytest.approx(0.05)
    assert found["spark.above_oracle"] == pytest.approx(0.15)


def test_data_that_nobody_generated_has_no_oracle():
    found = comparison(None).metrics()
    assert found["ours.test_rmse"] == 0.84
    assert [name for name in found if "oracle" in name] == []
    assert "10.0 s\n" in comparison(None).summary()


def test_the_record_is_json_and_holds_every_process():
    record = json.loads(json.dumps(comparison().record(), allow_nan=False))
    assert [len(record["runs"][name]) for name in (OURS, SPARK)] == [2, 2]
    assert record["runs"]["cold"]["measures"]["compile"] == pytest.approx(7.5)
    assert record["runs"]["cold"]["measures"]["build"] is None
    assert record["sweep"][0]["choice"] == {"blocks": 4, "cache": False}
    assert record["runs"][SPARK][0]["spec"]["spark"] == {"blocks": 4, "cache": False}
    assert record["rows"] == ROWS


def test_the_summary_names_what_a_ratio_is_worthless_without():
    text = comparison().summary()
    assert "1,000,000 training ratings, rank 8, 2 cores, 1g of driver memory each, 2 repeats" in text
    assert "4 blocks, ratings not cached, dev.ludovic.netlib.blas.VectorBLAS" in text
    (best,) = [line for line in text.splitlines() if "best" in line]
    assert best.split("│")[1].strip() == "4"
    (iteration,) = [line for line in text.splitlines() if "iteration, s  " in line and "1.00" in line]
    assert [cell.strip() for cell in iteration.split("│")[2:5]] == ["1.00", "4.00", "4.00"]
    assert "BlockALS: test RMSE 0.8400 after 3 iterations in 10.0 s, 5.00% above the oracle's 0.8000" in text


def test_kernels():
    speeds = [KernelSpeed(rank=32, ratings=1000, seconds=0.5, gflops=20.0, sgemm=80.0)]
    assert kernel_metrics(speeds) == {
        "kernels.rank_32.gflops": 20.0,
        "kernels.rank_32.sgemm": 80.0,
        "kernels.rank_32.share": 0.25,
    }
    assert "25.0%" in kernel_summary(speeds)


def test_plain_values_are_those_that_json_has():
    assert plain({"a": [1.0, float("nan")], "b": (float("inf"), "x")}) == {"a": [1.0, None], "b": [None, "x"]}


def test_scaling_says_what_a_rating_costs():
    found = [Scaled(0.5, 1_000, 0.5, 0.25), Scaled(1.0, 2_000, 1.0, 0.5)]
    assert scaling_metrics(found)["scaling.share_0.5.seconds"] == 0.5
    assert scaling_summary(found).count("500000") == 2
    assert "nan" in scaling_summary([Scaled(1.0, 0, 1.0, 0.0)])
