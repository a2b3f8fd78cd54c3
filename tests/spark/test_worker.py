"""Spark's Python workers are quickened where the package is imported, and nobody else is."""

from __future__ import annotations

import zipimport
from collections.abc import Iterable, Iterator

import pytest
from pyspark import daemon
from pyspark.sql import SparkSession

from recsys_spark.daemon import hang_up_quietly
from recsys_spark.worker import in_worker


def importer(_: Iterable[int]) -> Iterator[tuple[bool, str]]:
    import recsys_spark.worker

    yield recsys_spark.worker.in_worker(), zipimport.zipimporter.invalidate_caches.__module__


def test_a_worker_whose_socket_spark_has_closed_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> int:
        raise BrokenPipeError

    for serve, code in ((closed, 1), (lambda *_: 0, 0)):
        monkeypatch.setattr(daemon, "worker", serve)
        hang_up_quietly()
        assert daemon.worker(None, True) == code


def test_workers_are_quickened_and_the_driver_is_not(spark: SparkSession) -> None:
    found = spark.sparkContext.parallelize(range(2), 2).mapPartitions(importer).collect()
    assert set(found) == {(True, "recsys_spark.worker")}
    assert not in_worker()
    assert zipimport.zipimporter.invalidate_caches.__module__ == "zipimport"
