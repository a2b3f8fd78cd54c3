"""Spark's Python workers are quickened where the package is imported, and nobody else is."""

from __future__ import annotations

import gc
import zipimport
from collections.abc import Iterable, Iterator

import pytest
from pyspark import daemon
from pyspark.sql import SparkSession

from recsys_spark.daemon import hang_up_quietly
from recsys_spark.worker import in_worker, keep_loaded


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


def kept(_: Iterable[int]) -> Iterator[list[int]]:
    from recsys_spark.worker import keep_loaded

    found = []
    for kind in ("one", "one", "other"):
        gc.unfreeze()
        keep_loaded(kind)
        found.append(min(gc.get_freeze_count(), 1))
    yield found


def test_what_the_first_task_of_a_kind_loads_is_left_alone_by_the_garbage_collector(spark: SparkSession) -> None:
    """Once a kind: a worker that exempted what each task leaves would grow."""
    assert spark.sparkContext.parallelize([0], 1).mapPartitions(kept).collect() == [[1, 0, 1]]
    before = gc.get_freeze_count()
    keep_loaded("on the driver")
    assert gc.get_freeze_count() == before
