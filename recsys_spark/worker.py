"""Spark's Python workers, made quicker; runs on executors, where this package is first imported."""

from __future__ import annotations

import gc
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


_kept_of: set[str] = set()


def keep_loaded(kind: str) -> None:
    """Once for each kind of task: what its first run has loaded is not for the garbage collector to look at any more.

    Spark collects after every task. Where the engine and its kernels are loaded that visits 180,000 objects, a tenth of
    a second of a core, and copies every page that the worker shared with its siblings. Only what a first run leaves
    alive is exempted, so that a worker does not grow.
    """
    if kind not in _kept_of and in_worker():
        _kept_of.add(kind)
        gc.freeze()


def _nothing(self: zipimport.zipimporter) -> None:
    """What there is to invalidate."""
