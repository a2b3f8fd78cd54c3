"""Spark's Python workers are quickened where the package is imported, and nobody else is."""

from __future__ import annotations

import zipimport
from collections.abc import Iterable, Iterator

from pyspark.sql import SparkSession

from recsys_spark.worker import in_worker


def importer(_: Iterable[int]) -> Iterator[tuple[bool, str]]:
    import recsys_spark.worker

    yield recsys_spark.worker.in_worker(), zipimport.zipimporter.invalidate_caches.__module__


def test_workers_are_quickened_and_the_driver_is_not(spark: SparkSession) -> None:
    found = spark.sparkContext.parallelize(range(2), 2).mapPartitions(importer).collect()
    assert set(found) == {(True, "recsys_spark.worker")}
    assert not in_worker()
    assert zipimport.zipimporter.invalidate_caches.__module__ == "zipimport"
