"""The smallest heap of the JVM in which a whole fit completes: a bisection, a process a step. Driver."""

from __future__ import annotations

import math

from recsys_spark.benchmark.launch import Measured, mebibytes
from recsys_spark.benchmark.schedule import Bench, Found
from recsys_spark.benchmark.spec import FitOrder
from recsys_spark.config.benchmark import ON_SPARK

SPARK_LEAST = 450
"""MiB below which Spark itself does not start (one and a half times its reserved memory)."""
_GRAIN = 16


def smallest_heaps(bench: Bench, found: Found) -> None:
    """Seek it for every contender that has a JVM.

    A fit that takes `heap_patience` times its seconds under `driver_memory` counts as not completed: a heap that is
    nearly too small is spent on collecting garbage.
    """
    for name, contender in bench.options.chosen.items():
        if contender.kind in ON_SPARK:
            found.heaps[name] = _seek(bench, name)


def _seek(bench: Bench, name: str) -> list[tuple[int, bool, float]]:
    fits = [FitOrder(max_iter=bench.options.max_iter)]
    whole = mebibytes(bench.options.driver_memory)
    first = bench.run(bench.spec(name, fits, turn="heap"), f"heap {whole} MiB")
    patience = bench.options.heap_patience * first.seconds
    low, high, tried = SPARK_LEAST, whole, [(whole, True, first.seconds)]
    for step in range(bench.options.heap_steps):
        heap = middle(low, high)
        if not low < heap < high:
            bench.progress.spare(bench.options.heap_steps - step)
            break
        spec = bench.spec(name, fits, turn="heap", driver_memory=f"{heap}m")
        outcome = bench.attempt(spec, f"heap {heap} MiB", patience)
        completed = isinstance(outcome, Measured)
        tried.append((heap, completed, outcome.seconds))
        low, high = (low, heap) if completed else (heap, high)
    return tried


def middle(low: int, high: int) -> int:
    """MiB between the two by their ratio, in whole grains."""
    return round(math.sqrt(low * high) / _GRAIN) * _GRAIN


def smallest(tried: list[tuple[int, bool, float]]) -> int:
    """MiB of the smallest heap that was enough."""
    return min(heap for heap, completed, _ in tried if completed)
