"""The Spark session of the jobs, and the check that its executors can run the package; driver only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import site
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_spark.errors import EnvironmentProblem

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

CORE_PACKAGES = ("numpy", "scipy", "numba", "pyarrow", "pandas", "pydantic", "yaml", "threadpoolctl")
"""Modules that the package needs on every executor: the core requirements of setup.py."""

SESSION_CONF: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    "spark.python.unix.domain.socket.enabled": "true",  # to the Python workers, from 4.1 on; nobody reads it before
}


def build_session(app_name: str, extra_conf: Mapping[str, str] | None = None) -> SparkSession:
    """Open the session, or take the one there is; times are UTC, Arrow is on, Python workers are this Python.

    Raises
    ------
    EnvironmentProblem
        Spark Connect: it has no RDDs, and the engine needs them.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql.utils import is_remote

    if is_remote() or os.environ.get("SPARK_REMOTE"):
        raise EnvironmentProblem(
            "Spark Connect sessions have no RDDs, which training needs: unset SPARK_REMOTE and submit with --master "
            "(spark-submit.sh does)"
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name)
    daemon = _daemon(extra_conf or {})
    for key, value in {**SESSION_CONF, **daemon, **(extra_conf or {})}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    if daemon:
        _start_workers(session.sparkContext)
    return session


def stop_session(spark: SparkSession) -> None:
    """Stop the session and its context, once its workers have started: Spark would report those as crashed."""
    for thread in _starting:
        thread.join()
    _starting.clear()
    spark.stop()


_starting: list[threading.Thread] = []


def _start_workers(context: SparkContext) -> None:
    """Run a task on every core beside all else: the daemon's imports take a second, which the driver has uses for."""

    def start() -> None:
        with contextlib.suppress(Exception):  # the session's first real task will say what is wrong
            context.setJobDescription("start Python workers")
            tasks = context.defaultParallelism
            context.parallelize(range(tasks), tasks).foreachPartition(_nothing)

    _starting.append(threading.Thread(target=start, name="Python workers", daemon=True))
    _starting[-1].start()


def _nothing(_: Iterable[int]) -> None:
    """A task that does nothing."""


def _daemon(extra_conf: Mapping[str, str]) -> dict[str, str]:
    """The setting for `recsys_spark.daemon`, where the Python workers are known to find it: in local mode."""
    from pyspark import SparkConf, SparkContext

    if SparkContext._active_spark_context is not None:
        return {}
    SparkContext._ensure_initialized()  # the JVM knows what --master says
    master = extra_conf.get("spark.master") or SparkConf().get("spark.master", "")
    found = is_local(master) and workers_find_package()
    return {"spark.python.daemon.module": "recsys_spark.daemon"} if found else {}


def is_local(master: str | None) -> bool:
    """Whether the driver is the executor too.

    >>> is_local("local"), is_local("local[2,4]"), is_local("local-cluster[2,1,1024]"), is_local(None)
    (True, True, False, False)
    """
    return master == "local" or (master or "").startswith("local[")


def workers_find_package() -> bool:
    """Whether a Python that this one's environment is given to can import the package: not so from a job's folder."""
    if os.environ["PYSPARK_PYTHON"] != sys.executable:
        return False
    root = Path(__file__).resolve().parents[1]
    named = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *site.getsitepackages()]
    return any(Path(path).resolve() == root for path in named if path)


def check_executors(spark: SparkSession) -> None:
    """Run one small job that asks the executors for their Python and packages; nothing to ask in local mode.

    Raises
    ------
    EnvironmentProblem
        Executors run another Python, cannot start it, or lack a package: one sentence with the remedy.
    """
    from py4j.protocol import Py4JJavaError

    context = spark.sparkContext
    if is_local(context.master):
        return
    tasks = max(context.defaultParallelism, 1)
    try:
        found = context.parallelize(range(tasks), tasks).mapPartitions(probe).collect()
    except Py4JJavaError as error:
        problem = explain_worker_failure(str(error))
        if problem is None:
            raise
        raise EnvironmentProblem(problem) from None
    report = missing_packages(found)
    if report:
        raise EnvironmentProblem(report)


def probe(_: Iterable[int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Say which host this is and which core packages it lacks; runs on executors."""
    lacking = tuple(name for name in CORE_PACKAGES if importlib.util.find_spec(name) is None)
    yield socket.gethostname(), lacking


def missing_packages(found: Iterable[tuple[str, tuple[str, ...]]]) -> str | None:
    """One sentence for what :func:`probe` found, or None if nothing is missing."""
    lacking = {host: names for host, names in found if names}
    if not lacking:
        return None
    packages = sorted({name for names in lacking.values() for name in names})
    return (
        f"executors on {', '.join(sorted(lacking))} lack {', '.join(packages)}: run `pip install recsys-spark` in "
        "their Python, or ship an environment (--archives environment.tar.gz#environment with "
        "PYSPARK_PYTHON=./environment/bin/python)"
    )


def explain_worker_failure(message: str) -> str | None:
    """One sentence for a failure of tasks that a user can mend, or None for any other failure."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if "PYTHON_VERSION_MISMATCH" in message:
        theirs = re.search(r"worker has different version: (\d+\.\d+)", message)
        version = f"Python {theirs.group(1)}" if theirs else "another Python"
        return (
            f"executors run {version} and the driver {here}: install Python {here} on the executors and set "
            "PYSPARK_PYTHON to its path there"
        )
    if "Cannot call methods on a stopped SparkContext" in message:
        return (
            "the cluster ended the application, as it does where executors fail one after the other: their stderr in "
            "the workers' folder work/ says why (a full disk is one reason); mend it, then run the same command again"
        )
    missing = re.search(r"No module named '([\w.]+)'", message)
    if missing:
        return (
            f"executors cannot import {missing.group(1)}: run `pip install recsys-spark` in their Python, or submit "
            "with --py-files (spark-submit.sh ships the package)"
        )
    full = re.search(r"No space left on device|File too large|Disk quota exceeded", message)
    if full:
        where = re.findall(r"\(TID \d+\) \((\S+) executor \S+\)", message)
        what = re.search(r"\[Errno \d+\] [^:\n]+: '([^']+)'", message)
        return (
            f"the disk of {f'executors on {where[-1]}' if where else 'the driver'} is full ({full.group(0)}"
            f"{f': {what.group(1)}' if what else ''}): free space there, or let Spark use a larger one "
            "(spark.local.dir; standalone: SPARK_LOCAL_DIRS and SPARK_WORKER_DIR of the workers), then run the same "
            "command again: what is published already is not done again"
        )
    unstarted = re.search(r'Cannot run program "([^"]+)"', message)
    if unstarted:
        return (
            f"executors cannot start {unstarted.group(1)}: install Python {here} there and set PYSPARK_PYTHON to its "
            "path on the executors"
        )
    return None
