"""A measured process: opens a session of its own, fits as it is told, prints one JSON line.

    python -m recsys_spark.benchmark.contender --spec '{...}'

The session's master and memory come with the environment (`launch`), since a JVM's heap is settled when it starts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, OURS, TEST, TOP_N, Outcome, Phase, Quality, Source, Spec
from recsys_spark.schema import ITEM, PREDICTION, RATING, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Runner(Protocol):
    """What a contender can do. Models are its own."""

    def fit(self, ratings: DataFrame, max_iter: int) -> Any:
        """Fit all of `max_iter` iterations to (user, item, rating, held_out)."""

    def fit_whole(self, ratings: DataFrame) -> Any:
        """Fit as many iterations as its settings say."""

    def force(self, model: Any) -> None:
        """Do whatever a lazy fit has left to do."""

    def history(self, model: Any) -> tuple[float, ...]:
        """Seconds of each iteration, empty where it does not know."""

    def predict(self, model: Any, test: DataFrame) -> DataFrame:
        """Add ``prediction``, null or NaN where it has none."""

    def top_n(self, model: Any, n: int) -> DataFrame:
        """The n best items of every user."""

    def blas(self) -> str | None:
        """The class of the BLAS that it uses, if any."""


def run(spec: Spec) -> Outcome:
    """Open the session, time the fits one after the other, and score a last one if asked to."""
    from recsys_spark.session import build_session
    from recsys_spark.tracking.provenance import versions

    began = time.perf_counter()
    spark = build_session(f"benchmark {spec.contender}", {"spark.ui.enabled": "false", **spec.conf})
    session = time.perf_counter() - began
    checkpoints = tempfile.mkdtemp(prefix="recsys-spark-checkpoints-")
    try:
        # Without it, pyspark.ml.ALS overflows the JVM's stack some 30 iterations on.
        spark.sparkContext.setCheckpointDir(checkpoints)
        runner = make_runner(spark, spec)
        phases = tuple(_timed(spark, runner, spec.data, order.max_iter, order.source) for order in spec.fits)
        quality = None if spec.quality is None else _scored(spark, runner, spec)
        found = versions(spark)
        return Outcome(session=session, phases=phases, quality=quality, blas=runner.blas(), versions=found)
    finally:
        spark.stop()
        shutil.rmtree(checkpoints, ignore_errors=True)


def make_runner(spark: SparkSession, spec: Spec) -> Runner:
    """The contender that the spec names."""
    from recsys_spark.benchmark.ours import Ours
    from recsys_spark.benchmark.spark_als import SparkAls

    return Ours(spark, spec.features, spec.train) if spec.contender == OURS else SparkAls(spark, spec)


def read(spark: SparkSession, data: str) -> DataFrame:
    """The known ratings: a bare Parquet scan."""
    return spark.read.parquet(f"{data}/{KNOWN}")


def shuffled(spark: SparkSession, data: str) -> DataFrame:
    """The same rows shuffled, and kept by Spark: making a DataFrame is not what fits to it are measured for."""
    from pyspark import StorageLevel

    rows = read(spark, data).repartition(2 * spark.sparkContext.defaultParallelism).persist(StorageLevel.DISK_ONLY)
    rows.count()
    return rows


def derived(rows: DataFrame) -> DataFrame:
    """The same rows, every column an expression."""
    from pyspark.sql import functions as F

    return rows.select(
        F.coalesce(USER, F.lit(0)).alias(USER),
        F.coalesce(ITEM, F.lit(0)).alias(ITEM),
        (F.col(RATING) * F.lit(2.0) / F.lit(2.0)).alias(RATING),
        HELD_OUT,
    )


def rmse(predicted: DataFrame, train: DataFrame) -> tuple[float, int, int]:
    """(RMSE, rows, rows without a prediction) of `predicted`, clipped to the range of `train`, gaps at its mean."""
    from pyspark.sql import functions as F

    low, high, mean = train.agg(F.min(RATING), F.max(RATING), F.avg(RATING)).collect()[0]
    value, known = F.col(PREDICTION).cast("double"), F.col(PREDICTION).isNotNull() & ~F.isnan(PREDICTION)
    error = F.col(RATING) - F.when(known, F.least(F.lit(high), F.greatest(F.lit(low), value))).otherwise(F.lit(mean))
    found = predicted.agg(F.sqrt(F.avg(error * error)), F.count("*"), F.count_if(~known)).collect()[0]
    return float(found[0]), int(found[1]), int(found[2])


def _timed(spark: SparkSession, runner: Runner, data: str, max_iter: int, source: Source) -> Phase:
    rows = shuffled(spark, data) if source == "derived" else None
    start = time.perf_counter()
    model = runner.fit(read(spark, data) if rows is None else derived(rows), max_iter)
    end = time.perf_counter()
    runner.force(model)
    left = time.perf_counter() - end
    history = runner.history(model)
    del model
    _settle(spark)
    return Phase(max_iter=max_iter, source=source, start=start, end=end, history=history, left=left)


def _scored(spark: SparkSession, runner: Runner, spec: Spec) -> Quality:
    known = read(spark, spec.data)
    start = time.perf_counter()
    model = runner.fit_whole(known)
    seconds = time.perf_counter() - start
    test = spark.read.parquet(f"{spec.data}/{TEST}")
    value, rows, unknown = rmse(runner.predict(model, test), known.where(f"not {HELD_OUT}"))
    iterations = len(runner.history(model)) or spec.quality or 0
    # The same rows were predicted a moment ago: workers are warm, as the JVM's code is.
    transform = _seconds(lambda: runner.predict(model, test).write.format("noop").mode("overwrite").save())
    with tempfile.TemporaryDirectory(prefix="recsys-spark-top-n-") as folder:
        top_n = _seconds(lambda: runner.top_n(model, TOP_N).write.parquet(f"file:{folder}/top_n"))
    return Quality(
        test_rmse=value,
        rows=rows,
        unknown=unknown,
        iterations=iterations,
        seconds=seconds,
        transform=transform,
        top_n=top_n,
    )


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _settle(spark: SparkSession) -> None:
    """Leave nothing of a fit to the next one: cached data, the JVM's garbage, and the shuffle files that it holds."""
    spark.catalog.clearCache()
    context = spark.sparkContext
    for rdd in list(context._jsc.getPersistentRDDs().values()):
        rdd.unpersist(True)
    context._jvm.System.gc()  # type: ignore[union-attr]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what ``--spec`` says; the outcome is the last line on stdout."""
    parser = argparse.ArgumentParser(prog="recsys_spark.benchmark.contender", description=__doc__)
    parser.add_argument("--spec", required=True, type=Spec.model_validate_json, metavar="JSON")
    outcome = run(parser.parse_args(argv).spec)
    sys.stdout.write(outcome.model_dump_json() + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
