"""Weak scaling: as many users to each executor, on more and more of them; a cluster on this machine a point. Driver."""

from __future__ import annotations

import os
from typing import Any

from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.schedule import Bench, Found
from recsys_spark.benchmark.spec import EXCHANGES, PHASES, FitOrder
from recsys_spark.benchmark.times import after_the_first


def weak(bench: Bench, found: Found) -> None:
    """Fit `ours` on one-core executors with each exchange; the most of them get all users, fewer in proportion.

    The cluster is of processes on this machine (local-cluster), so that rows do pass from executor to executor, by
    loopback. Points with more executors than this machine has cores are left out.
    """
    options = bench.options
    fits = [FitOrder(max_iter=1), FitOrder(max_iter=1 + options.iterations)]
    here = len(os.sched_getaffinity(0))
    counts = [count for count in options.executors if count <= here]
    bench.progress.spare(len(EXCHANGES) * (len(options.executors) - len(counts)))
    for exchange in EXCHANGES:
        for count in counts:
            spec = bench.spec(
                options.ours, fits, executors=count, cores=1, share=count / max(counts), exchange=exchange
            )
            run = bench.run(spec, f"weak scaling, {count} executors, {exchange}")
            found.weak.append((exchange, count, run))


def weak_point(exchange: str, executors: int, run: Measured) -> dict[str, Any]:
    """Seconds and bytes of the median iteration after the first.

    - ``ratings``, ``users``, ``items``; ``seconds``, and of those ``compute``, ``exchange``, ``driver``, ``spark``;
    - ``moved``: bytes of rows that went to the driver, out from it, or from block to block.

    And of the whole fit ``build``, seconds that are of no iteration, and ``shuffled``, bytes written to shuffles.
    """
    last = run.outcome.phases[-1]
    course = last.course
    return {
        "exchange_by": exchange,
        "executors": executors,
        **run.outcome.size.model_dump(),
        "seconds": after_the_first(course.seconds),
        **{phase: after_the_first(course.phases.get(phase, ())) for phase in PHASES},
        "moved": course.moved / max(len(course.seconds), 1),
        "build": last.apart,
        "shuffled": last.shuffled,
    }
