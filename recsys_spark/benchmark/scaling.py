"""Seconds of an iteration against the number of ratings, the rank and the cores: a process a point. Driver."""

from __future__ import annotations

import os

from recsys_spark.benchmark.schedule import Bench, Found
from recsys_spark.benchmark.spec import FitOrder

RATINGS, RANK, CORES = "ratings", "rank", "cores"
AXES = (RATINGS, RANK, CORES)


def scale(bench: Bench, found: Found) -> None:
    """Measure each contender of `scaled` at every point of every axis, all else as in the comparison.

    A point that lies on several axes is measured once. Cores that this machine does not have are left out.
    """
    options = bench.options
    # The fit of two is not looked at: the session warms up in it, which takes longer than small data does.
    fits = [FitOrder(max_iter=n) for n in (2, 1, 1 + options.iterations)]
    here = len(os.sched_getaffinity(0))
    for name in options.scaled:
        for share in sorted(options.shares):
            run = bench.run(bench.spec(name, fits, share=share), f"scaling to {share:.1%} of the users")
            found.scaled.append((name, RATINGS, float(run.outcome.size.ratings), run))
        for rank in options.ranks:
            spec = bench.spec(name, fits)
            train = spec.plan.train.model_copy(update={"rank": rank})
            run = bench.run(bench.spec(name, fits, train=train), f"scaling to rank {rank}")
            found.scaled.append((name, RANK, float(rank), run))
        for cores in options.core_counts:
            if cores > here:
                bench.progress.spare(1)
                continue
            run = bench.run(bench.spec(name, fits, cores=cores), f"scaling to {cores} cores")
            found.scaled.append((name, CORES, float(cores), run))
