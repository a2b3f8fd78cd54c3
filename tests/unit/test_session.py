"""What is said about executors that cannot run the package."""

from __future__ import annotations

import re
import sys

import pytest
from pyspark.errors import PySparkRuntimeError

from recsys_spark import session

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_another_python_is_named_from_pysparks_own_message():
    versions = {"worker_version": "3.9", "driver_version": HERE}
    error = PySparkRuntimeError(errorClass="PYTHON_VERSION_MISMATCH", messageParameters=versions)
    said = session.explain_worker_failure(f"Job aborted: {error}")
    assert said == (
        f"executors run Python 3.9 and the driver {HERE}: install Python {HERE} on the executors and set "
        "PYSPARK_PYTHON to its path there"
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "... ModuleNotFoundError: No module named 'recsys_spark'\n ...",
            "executors cannot import recsys_spark: run `pip",
        ),
        (
            'java.io.IOException: Cannot run program "/x y/python": error=2',
            "executors cannot start /x y/python: install",
        ),
    ],
)
def test_failures_with_a_remedy(message, words):
    assert words in (session.explain_worker_failure(message) or "")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Lost task 0.3 in stage 4.0 (TID 9) (10.0.0.7 executor 1): ... OSError: [Errno 28] No space left on "
            "device: '/data/blk'\n",
            "the disk of executors on 10.0.0.7 is full (No space left on device: /data/blk): free space there, or let",
        ),
        ("java.io.IOException: No space left on device", "the disk of the driver is full (No space left on device)"),
        ("OSError: [Errno 122] Disk quota exceeded: '/x'", "is full (Disk quota exceeded: /x)"),
    ],
)
def test_a_full_disk_is_named(message, words):
    assert words in (session.explain_worker_failure(message) or "")


def test_other_failures_are_not_explained_away():
    assert session.explain_worker_failure("ExecutorLostFailure: out of memory") is None


def test_an_application_that_the_cluster_ended_is_told_where_to_look() -> None:
    said = session.explain_worker_failure("IllegalStateException: Cannot call methods on a stopped SparkContext.\nThis")
    assert said is not None
    assert "the cluster ended the application" in said
    assert "run the same command again" in said


def test_missing_packages_are_listed_once_with_their_hosts():
    found = [("b", ("numba",)), ("a", ("numba", "scipy")), ("c", ()), ("a", ("numba", "scipy"))]
    said = session.missing_packages(found)
    assert said is not None
    assert said.startswith("executors on a, b lack numba, scipy: run `pip install recsys-spark`")
    assert session.missing_packages([("c", ())]) is None


def test_the_probe_finds_what_is_missing(monkeypatch):
    assert [names for _, names in session.probe(iter([]))] == [()]
    monkeypatch.setattr(session, "CORE_PACKAGES", ("numpy", "no_such_module_anywhere"))
    assert [names for _, names in session.probe(iter([]))] == [("no_such_module_anywhere",)]


def test_the_probe_asks_for_the_core_requirements_of_setup_py():
    setup = session.__file__.replace("recsys_spark/session.py", "setup.py")
    with open(setup, encoding="utf-8") as file:
        core = file.read().partition("CORE = [")[2].partition("]\n")[0]
    required = {name.lower() for name in re.findall(r'"([A-Za-z]+)[><=]', core)}
    assert {"pyyaml" if name == "yaml" else name for name in session.CORE_PACKAGES} == required
