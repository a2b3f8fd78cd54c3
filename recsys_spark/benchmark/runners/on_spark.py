"""What contenders on Spark share: a session, reading the ratings, errors, shuffled bytes, serving. Driver."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyspark import StorageLevel
from pyspark.sql import functions as F

from recsys_spark import lake
from recsys_spark.benchmark.contender import seconds_of
from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, TEST, TOP_N, Course, FitOrder, Judged, Served, Size, Spec
from recsys_spark.schema import ITEM, PREDICTION, RATING, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BUCKETS = 1 << 20


@contextlib.contextmanager
def open_session(spec: Spec) -> Iterator[SparkSession]:
    """The session of a measured process; stages are remembered, since their shuffled bytes are asked for."""
    from recsys_spark.session import build_session, stop_session

    conf = {"spark.ui.enabled": "false", "spark.ui.retainedStages": "100000", **spec.conf}
    if spec.executors:
        conf |= {"spark.executor.memory": spec.driver_memory, "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"]}
    spark = build_session(f"benchmark {spec.name}", conf)
    left = [tempfile.mkdtemp(prefix="recsys-spark-checkpoints-")]
    if spec.executors:  # workers of a cluster on this machine leave each application's files here
        home = spark.sparkContext._jvm.System.getenv("SPARK_HOME")  # type: ignore[union-attr]
        left.append(os.path.join(home, "work", spark.sparkContext.applicationId))
    try:
        # Without it, pyspark.ml.ALS overflows the JVM's stack some 30 iterations on.
        spark.sparkContext.setCheckpointDir(left[0])
        yield spark
    finally:
        stop_session(spark)
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)


class OnSpark:
    """A `contender.Runner` but for `fit`, `predict` and `reopen`."""

    def __init__(self, spark: SparkSession, spec: Spec) -> None:
        self.spark, self.spec = spark, spec
        self._kept: DataFrame | None = None

    def fit(self, order: FitOrder) -> Any:
        """See `contender.Runner`."""
        raise NotImplementedError

    def predict(self, model: Any, rows: DataFrame) -> DataFrame:
        """Add ``prediction``, null or NaN where it has none."""
        raise NotImplementedError

    def reopen(self, path: str) -> Any:
        """The saved model."""
        raise NotImplementedError

    def behind(self, model: Any) -> Any:
        """The model of pyspark.ml's kind that recommends and is saved: itself, unless a contender says otherwise."""
        return model

    def prepare(self, order: FitOrder) -> None:
        """Shuffle and keep rows that are to be derived from: making a DataFrame is not what fits are measured for."""
        if order.source == "derived":
            self._kept = shuffled(self._known())

    def input(self, order: FitOrder) -> DataFrame:
        """The known ratings, as the order wants them."""
        return self._known() if order.source == "parquet" or self._kept is None else derived(self._kept)

    def force(self, model: Any) -> None:
        """Nothing is left to do, unless a contender says so."""

    def course(self, model: Any) -> Course:
        """It keeps no history, unless a contender says so."""
        return Course()

    def judge(self, model: Any) -> Judged:
        """Errors on the held-out ratings and on the test fold."""
        held_out = self._known().where(HELD_OUT)
        validation, _, rows, _ = errors(self.predict(model, held_out.drop(HELD_OUT)), self._range)
        rmse, mae, tested, unknown = errors(self.predict(model, self._test()), self._range)
        return Judged(
            validation_rmse=validation if rows else None, test_rmse=rmse, test_mae=mae, rows=tested, unknown=unknown
        )

    def serve(self, model: Any) -> Served:
        """Predict the test rows, write top-N lists, save, load."""
        test = self._test()
        # The same rows are predicted once before: workers are warm, as the JVM's code is.
        self.predict(model, test).write.format("noop").mode("overwrite").save()
        transform = seconds_of(lambda: self.predict(model, test).write.format("noop").mode("overwrite").save())
        inner = self.behind(model)
        with tempfile.TemporaryDirectory(prefix="recsys-spark-served-") as folder:
            top_n = seconds_of(lambda: inner.recommendForAllUsers(TOP_N).write.parquet(f"file:{folder}/top_n"))
            save = seconds_of(lambda: inner.write().save(f"file:{folder}/model"))
            load = seconds_of(lambda: _count(self.reopen(f"file:{folder}/model")))
        return Served(transform=transform, top_n=top_n, save=save, load=load)

    def shuffled(self) -> int:
        """Bytes that all stages so far have written to shuffles, by Spark's own count."""
        return stage_sum(self.spark, "shuffleWriteBytes")

    def settle(self) -> None:
        """Drop cached data, the JVM's garbage, and the shuffle files that it holds."""
        self._kept = None
        self.spark.catalog.clearCache()
        context = self.spark.sparkContext
        for rdd in list(context._jsc.getPersistentRDDs().values()):
            rdd.unpersist(True)
        context._jvm.System.gc()  # type: ignore[union-attr]

    def size(self) -> Size:
        """Of training and validation."""
        found = self._known().agg(F.count("*"), F.count_distinct(USER), F.count_distinct(ITEM)).collect()[0]
        return Size(ratings=found[0], users=found[1], items=found[2])

    def blas(self) -> str | None:
        """None, unless a contender says so."""
        return None

    def versions(self) -> dict[str, str]:
        """Of the packages and of Java."""
        from recsys_spark.tracking.provenance import versions

        return versions(self.spark)

    def _known(self) -> DataFrame:
        # As the jobs read tables, with their recorded schema: to infer one takes a job.
        rows = lake.read_table(self.spark, self.spec.data, KNOWN)
        if self.spec.share == 1:
            return rows  # a bare scan
        # Users whose hash is small, so that shares are nested.
        return rows.where(F.pmod(F.xxhash64(USER), F.lit(_BUCKETS)) < round(self.spec.share * _BUCKETS))

    def _test(self) -> DataFrame:
        return lake.read_table(self.spark, self.spec.data, TEST)

    @cached_property
    def _range(self) -> tuple[float, float, float]:
        """Lowest, highest and mean training rating."""
        train = self._known().where(~F.col(HELD_OUT))
        low, high, mean = train.agg(F.min(RATING), F.max(RATING), F.avg(RATING)).collect()[0]
        return float(low), float(high), float(mean)


def shuffled(rows: DataFrame) -> DataFrame:
    """The same rows shuffled, and kept by Spark."""
    kept = rows.repartition(2 * rows.sparkSession.sparkContext.defaultParallelism).persist(StorageLevel.DISK_ONLY)
    kept.count()
    return kept


def derived(rows: DataFrame) -> DataFrame:
    """The same rows, every column an expression."""
    return rows.select(
        F.coalesce(USER, F.lit(0)).alias(USER),
        F.coalesce(ITEM, F.lit(0)).alias(ITEM),
        (F.col(RATING) * F.lit(2.0) / F.lit(2.0)).alias(RATING),
        HELD_OUT,
    )


def errors(predicted: DataFrame, scale: tuple[float, float, float]) -> tuple[float, float, int, int]:
    """(RMSE, MAE, rows, rows without a prediction) of ``prediction``, clipped to `scale`, whose mean fills gaps.

    Parameters
    ----------
    scale : lowest, highest and mean rating
    """
    low, high, mean = scale
    value, known = F.col(PREDICTION).cast("double"), F.col(PREDICTION).isNotNull() & ~F.isnan(PREDICTION)
    error = F.col(RATING) - F.when(known, F.least(F.lit(high), F.greatest(F.lit(low), value))).otherwise(F.lit(mean))
    found = predicted.agg(
        F.sqrt(F.avg(error * error)), F.avg(F.abs(error)), F.count("*"), F.count_if(~known)
    ).collect()[0]
    return float(found[0] or 0.0), float(found[1] or 0.0), int(found[2]), int(found[3])


def stage_sum(spark: SparkSession, name: str) -> int:
    """Sum of one of Spark's counters over all stages that the session remembers."""
    context: Any = spark.sparkContext
    scala = context._jsc.sc()
    scala.listenerBus().waitUntilEmpty()
    quantiles = context._gateway.new_array(context._jvm.double, 0)
    empty = context._jvm.java.util.ArrayList()
    stages = scala.statusStore().stageList(empty, False, False, quantiles, empty)
    return sum(int(getattr(stages.apply(at), name)()) for at in range(stages.size()))


def _count(model: Any) -> None:
    model.userFactors.count()
    model.itemFactors.count()
