"""Fixtures that all tests share, and the order they run in: unit, spark, real, cluster; the longest files before these
where several processes share them out, so that none is left with a long one at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent
_ORDER = ("unit", "spark", "real", "cluster")
_LONGEST = (
    *("test_standalone", "test_benchmark_runners", "test_notebooks", "test_score_days", "test_als_routed"),
    *("test_als_execution", "test_als_stages", "test_benchmark_job", "test_fit_cluster", "test_retrain"),
)

# For every JVM that a test starts. None runs for so long that optimised code would pay: compiling it took two fifths
# of the processor time of all. Without C2 the code cache would be 48 MB, which a long session fills: then the JVM
# throws code away and interprets.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheapest tests first, or the longest files; tests/cluster and tests/real carry the mark of their folder."""
    shared_out = "PYTEST_XDIST_WORKER" in os.environ

    def place(item: pytest.Item) -> int:
        if shared_out and item.path.stem in _LONGEST:
            return _LONGEST.index(item.path.stem) - len(_LONGEST)
        folders = item.path.parts
        return next((index for index, name in enumerate(_ORDER) if name in folders), 0)

    for item in items:
        for mark in {"cluster", "real"} & set(item.path.parts):
            item.add_marker(mark)
    items.sort(key=place)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One small local session for all tests under tests/spark: local[2], 2 shuffle partitions, UTC, no UI."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    scratch = tmp_path_factory.mktemp("spark")
    log_conf = f"-Dlog4j2.configurationFile=file:{ROOT / 'conf' / 'log4j2.properties'}"
    session = (
        SparkSession.builder.master("local[2]")
        .appName("recsys_spark tests")
        .config("spark.driver.memory", "2g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.python.unix.domain.socket.enabled", "true")
        .config("spark.python.daemon.module", "recsys_spark.daemon")
        .config("spark.executorEnv.PYTHONPATH", str(ROOT))
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.default.parallelism", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.local.dir", str(scratch / "local"))
        .config("spark.driver.extraJavaOptions", log_conf)
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder that holds ml-latest-small/ and ml-32m/; the test is skipped without RECSYS_SPARK_DATA."""
    folder = os.environ.get("RECSYS_SPARK_DATA")
    if not folder:
        pytest.skip("RECSYS_SPARK_DATA is not set (a folder holding ml-latest-small/ and ml-32m/)")
    path = Path(folder)
    if not (path / "ml-latest-small").is_dir():
        pytest.skip(f"RECSYS_SPARK_DATA={folder} holds no ml-latest-small/")
    return path
