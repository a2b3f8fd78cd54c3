"""Clusters for tests: one JVM holds one SparkContext, so each cluster lives in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 240

_PREAMBLE = """\
import atexit, json, os, shutil, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.master(os.environ["TEST_MASTER"]).appName("recsys_spark cluster test")
for _key, _value in json.loads(os.environ["TEST_CONF"]).items():
    builder = builder.config(_key, _value)
spark = builder.getOrCreate()

def _stop_and_clean():
    # Workers of a local-cluster keep each application's files under SPARK_HOME/work.
    home, application = spark._jvm.System.getenv("SPARK_HOME"), spark.sparkContext.applicationId
    spark.stop()
    shutil.rmtree(os.path.join(home, "work", application), ignore_errors=True)

atexit.register(_stop_and_clean)
"""


def run_cluster_script(
    code_or_path: str | Path,
    master: str = "local-cluster[2,1,1024]",
    conf: dict[str, str] | None = None,
    args: tuple[str, ...] = (),
) -> Any:
    """Run a Python script against a small cluster in a process of its own; return its last line, read as JSON.

    The script finds a session as `spark`. `code_or_path` is source text, or the path of a file.
    """
    code = Path(code_or_path).read_text(encoding="utf-8") if isinstance(code_or_path, Path) else code_or_path
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "768m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        **(conf or {}),
    }
    env = {key: value for key, value in os.environ.items() if key not in {"SPARK_HOME", "SPARK_CONF_DIR", "MASTER"}}
    env |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "TEST_MASTER": master,
        "TEST_CONF": json.dumps(settings),
    }
    # Through stdin, so that what the script defines belongs to __main__ and travels to the executors.
    done = subprocess.run(
        [sys.executable, "-", *args],
        input=_PREAMBLE + code,
        env=env,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        pytest.fail(f"the cluster script ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return json.loads(lines[-1])


@pytest.fixture(name="run_cluster_script")
def _run_cluster_script() -> Callable[..., Any]:
    """Give :func:`run_cluster_script` to a test."""
    return run_cluster_script
