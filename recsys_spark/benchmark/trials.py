"""Which processes are measured, in which order. Driver; no session of Spark is open meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.launch import Measured, measure
from recsys_spark.benchmark.report import Comparison, Trial
from recsys_spark.benchmark.spec import OURS, SPARK, Contender, FitOrder, SparkChoice, Spec
from recsys_spark.benchmark.times import fit_times

if TYPE_CHECKING:
    from recsys_spark.config import Settings
    from recsys_spark.config.tree import BenchmarkSettings

log = logging.getLogger(__name__)

USUAL_FIT = 10
"""Iterations of a usual fit (pyspark.ml.ALS's own default): its settings are chosen by the time of one."""


def compare(settings: Settings, options: BenchmarkSettings, prepared: Prepared, kernels: str) -> Comparison:
    """Choose Spark's settings, then measure the contenders in turns, A B A B.

    Parameters
    ----------
    kernels : an empty directory; BlockALS compiles into it once, cold, and loads from it ever after
    """

    def run(
        contender: Contender, fits: Sequence[FitOrder], choice: SparkChoice, quality: int | None = None
    ) -> Measured:
        spec = make_spec(settings, options, prepared, contender, fits, choice, quality)
        log.info("measuring %s%s", contender, f", {choice.blocks} blocks, cache {choice.cache}" * (contender == SPARK))
        found = measure(spec, interval=options.sample_seconds, kernels=kernels)
        log.info("%s", ", ".join(f"{p.source} T({p.max_iter}) {p.seconds:.2f} s" for p in found.outcome.phases))
        return found

    choices = [SparkChoice(blocks=blocks, cache=cache) for blocks in options.blocks for cache in options.cache]
    short = [FitOrder(max_iter=n) for n in (1, 1 + options.iterations)]
    sweep = [trial(run(SPARK, short, choice)) for choice in choices] if len(choices) > 1 else []
    best = min(sweep, key=lambda t: t.fit).choice if sweep else choices[0]

    cold = run(OURS, [FitOrder(max_iter=2)], best)
    full = [FitOrder(max_iter=0), FitOrder(max_iter=0), *short, FitOrder(max_iter=0, source="derived")]
    ours, spark = [], []
    for repeat in range(1, options.repeats + 1):
        log.info("repeat %d of %d", repeat, options.repeats)
        scored = settings.evaluate.pyspark.iterations if repeat == options.repeats else None
        ours.append(run(OURS, full, best, scored))
        spark.append(run(SPARK, full, best, scored))
    return Comparison(ours, spark, cold, sweep, prepared.rows, prepared.oracle_rmse)


def make_spec(
    settings: Settings,
    options: BenchmarkSettings,
    prepared: Prepared,
    contender: Contender,
    fits: Sequence[FitOrder],
    choice: SparkChoice,
    quality: int | None = None,
) -> Spec:
    """The order to one process."""
    return Spec(
        contender=contender,
        data=prepared.data,
        features=prepared.features,
        train=settings.train.model_copy(update={"rank": options.rank}),
        spark=choice,
        reg=settings.evaluate.pyspark.reg,
        fits=tuple(fits),
        quality=quality,
        cores=options.cores or len(os.sched_getaffinity(0)),
        driver_memory=options.driver_memory,
        conf=options.conf,
    )


def trial(measured: Measured) -> Trial:
    """One line of the sweep; an iteration too short to measure counts nothing."""
    times = fit_times(measured.outcome)
    iteration = times["iteration"] if times["iteration"] > 0 else 0.0
    first = measured.outcome.phases[0].seconds
    return Trial(measured.spec.spark, first, iteration, first + (USUAL_FIT - 1) * iteration)
