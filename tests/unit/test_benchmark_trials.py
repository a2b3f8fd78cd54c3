"""Which processes a benchmark runs, with processes that only say what they were asked."""

from __future__ import annotations

import pytest

from benchmark_factory import measured
from recsys_spark.benchmark import trials
from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.spec import OURS, SPARK, SparkChoice, Spec
from recsys_spark.config import Settings, load_settings

PREPARED = Prepared("data", "features", {"train": 1, "validation": 1, "test": 1}, None)
# Blocks and cache: seconds to build, seconds of an iteration.
SECONDS = {(2, False): (9.0, 3.0), (2, True): (12.0, 1.0), (4, False): (10.0, 2.0), (4, True): (13.0, 4.0)}


def settings(*overrides: str) -> Settings:
    quick = ["benchmark.blocks=[2, 4]", "benchmark.repeats=2", "benchmark.rank=6", "benchmark.cores=3"]
    return load_settings([], [*quick, *overrides], {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Spec, float, str]]:
    """Every order, in turn."""
    orders: list[tuple[Spec, float, str]] = []

    def measure(spec: Spec, *, interval: float, kernels: str) -> Measured:
        orders.append((spec, interval, kernels))
        build, iteration = SECONDS[spec.spark.blocks, spec.spark.cache] if spec.contender == SPARK else (2.0, 0.5)
        fits = [(order.max_iter, build + iteration * order.max_iter) for order in spec.fits]
        return measured(spec.contender, *fits, choice=spec.spark)

    monkeypatch.setattr(trials, "measure", measure)
    return orders


def run(chosen: Settings) -> trials.Comparison:
    return trials.compare(chosen, chosen.benchmark, PREPARED, "kernels")


def test_spark_s_best_settings_are_measured_in_turns_with_ours(asked):
    found = run(settings())
    tried = [(spec.spark.blocks, spec.spark.cache) for spec, *_ in asked[:4]]
    assert tried == list(SECONDS)
    best = SparkChoice(blocks=2, cache=True)  # 12 + 10 · 1 beats 9 + 10 · 3, though its first iteration ends later
    assert [t.fit for t in found.sweep] == pytest.approx([39, 22, 30, 53])
    assert [spec.contender for spec, *_ in asked[4:]] == [OURS, OURS, SPARK, OURS, SPARK]
    assert {spec.spark for spec, *_ in asked[4:]} == {best}


def test_each_process_is_asked_for_the_right_fits(asked):
    run(settings("benchmark.iterations=7"))
    fits = [[(order.max_iter, order.source) for order in spec.fits] for spec, *_ in asked]
    full = [(0, "parquet"), (0, "parquet"), (1, "parquet"), (8, "parquet"), (0, "derived")]
    assert fits == [full[2:4]] * 4 + [[(2, "parquet")]] + [full] * 4
    assert [spec.quality for spec, *_ in asked] == [None] * 7 + [10, 10]
    assert {(interval, kernels) for _, interval, kernels in asked} == {(0.3, "kernels")}


def test_the_same_terms_for_both(asked):
    run(settings("benchmark.driver_memory=5g", 'benchmark.conf={"spark.x": "y"}', "evaluate.pyspark.reg=0.3"))
    terms = {(s.train.rank, s.cores, s.driver_memory, s.data, s.conf["spark.x"], s.reg) for s, *_ in asked}
    assert terms == {(6, 3, "5g", "data", "y", 0.3)}


def test_one_setting_needs_no_sweep(asked):
    found = run(settings("benchmark.blocks=[4]", "benchmark.cache=[false]", "benchmark.repeats=1"))
    assert found.sweep == []
    assert [spec.contender for spec, *_ in asked] == [OURS, OURS, SPARK]
    assert asked[-1][0].spark == SparkChoice(blocks=4, cache=False)
