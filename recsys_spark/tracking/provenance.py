"""What ran: versions, commit and machine, as flat text for the tags of a run. No mlflow here; driver only."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import recsys_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = ("pyspark", "numpy", "numba", "scipy", "pyarrow", "pandas", "mlflow")
PACKAGE_DIR = Path(recsys_spark.__file__).resolve().parent


def provenance(spark: SparkSession | None = None) -> dict[str, str]:
    """Tags of a run: `version.*`, `git.*` if the package lies in a checkout, `machine.*`, `spark.*` with a session."""
    session = {} if spark is None else _session(spark)
    return {**versions(spark), **git_commit(PACKAGE_DIR), **machine(), **session}


def versions(spark: SparkSession | None = None) -> dict[str, str]:
    """Versions of this package, Python and the packages that decide results (`none` where one is not installed)."""
    found = {"version.recsys_spark": recsys_spark.__version__, "version.python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[f"version.{package}"] = "none"
    if spark is not None:
        jvm = spark.sparkContext._jvm
        assert jvm is not None  # a live session has one
        found["version.java"] = str(jvm.System.getProperty("java.version"))
    return found


def git_commit(package_dir: Path) -> dict[str, str]:
    """Commit of the checkout that the package is run from, and whether tracked files differ from it.

    Empty where the package is installed (also into an environment that lies in somebody's checkout) or git is absent.
    """
    top = _git(package_dir, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != package_dir.parent:
        return {}
    commit = _git(package_dir, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return {}
    changes = _git(package_dir.parent, "status", "--porcelain", "--untracked-files=no")
    return {"git.commit": commit, "git.dirty": "unknown" if changes is None else str(bool(changes)).lower()}


def machine() -> dict[str, str]:
    """Processor, cores this process may use, memory in GiB and operating system of the driver."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"machine.cpu": _cpu_model(), "machine.cores": str(allowed), "machine.os": platform.platform()}
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found["machine.memory_gib"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f}"
    return found


def _session(spark: SparkSession) -> dict[str, str]:
    context = spark.sparkContext
    return {"spark.master": str(context.master), "spark.parallelism": str(context.defaultParallelism)}


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(directory: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where it failed or there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
