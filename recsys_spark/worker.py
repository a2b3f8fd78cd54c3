"""Spark's Python workers, made quicker; runs on executors, where this package is first imported."""

from __future__ import annotations

import sys
import zipimport

WORKERS = frozenset({"pyspark.daemon", "pyspark.worker", "recsys_spark.daemon"})
"""Modules that a Python worker is started with (it forks from the daemon)."""


def in_worker() -> bool:
    """Whether this process is one of Spark's Python workers."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name in WORKERS


def quicken() -> None:
    """Keep zip importers from reading their archives anew at each task.

    Spark calls `importlib.invalidate_caches` before every task, in case files were added. Each zip on the path (two are
    pyspark's own) is then read again, most of the fixed cost of a task: fourteen empty tasks took 1.4 s on two cores,
    0.5 s without. An archive that Spark has shipped never changes, and a new one gets an importer of its own.
    """
    zipimport.zipimporter.invalidate_caches = _nothing  # type: ignore[method-assign]


def _nothing(self: zipimport.zipimporter) -> None:
    """What there is to invalidate."""
