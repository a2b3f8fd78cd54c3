"""From timed fits to what is claimed: build, iteration, memory of each contender, and their ratios. No Spark here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.spec import Outcome

MEASURES = ("iteration", "build", "build_warm", "build_derived", "memory", "transform", "top_n")
"""What is compared; seconds, but for memory (bytes); the last two of the scored fits alone."""


@dataclass(frozen=True)
class Ratio:
    """How many times as much pyspark.ml.ALS takes, over the repeats; the median is the claim."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The claim."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values, default=math.nan)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values, default=math.nan)


def fit_times(outcome: Outcome) -> dict[str, float]:
    """Seconds by measure, NaN where the process timed nothing that tells.

    - ``build``: T(0 iterations) from Parquet, the first fit of the process; ``build_warm``: the second such;
    - ``build_derived``: T(0) from a DataFrame that is no bare Parquet scan;
    - ``iteration``: (T(1 + n) − T(1)) / n;
    - ``first_extra``: T(1) − T(0) − an iteration: what the first one takes longer;
    - ``compile``: the same as the fit's own history tells it (BlockALS): the first iteration less the median of others.
    """
    parquet: dict[int, list[float]] = {}
    for phase in outcome.phases:
        if phase.source == "parquet":
            parquet.setdefault(phase.max_iter, []).append(phase.seconds)
    derived = [phase.seconds for phase in outcome.phases if phase.source == "derived"]
    builds, ones = parquet.get(0, []), parquet.get(1, [])
    most = max(parquet, default=0)
    iteration = (parquet[most][0] - ones[0]) / (most - 1) if ones and most > 1 else math.nan
    return {
        "build": builds[0] if builds else math.nan,
        "build_warm": builds[1] if len(builds) > 1 else math.nan,
        "build_derived": derived[0] if derived else math.nan,
        "iteration": iteration if iteration > 0 else math.nan,  # noise was larger than the work
        "first_extra": ones[0] - builds[-1] - iteration if ones and builds else math.nan,
        "compile": compile_seconds(outcome),
    }


def compile_seconds(outcome: Outcome) -> float:
    """First iteration of the process less the median of all that were not first in their fit; NaN without history."""
    histories = [phase.history for phase in outcome.phases if phase.history]
    later = [seconds for history in histories for seconds in history[1:]]
    return histories[0][0] - statistics.median(later) if later else math.nan


def measures(measured: Measured) -> dict[str, float]:
    """`fit_times`, ``memory``, peak Σ PSS in bytes, and ``transform`` and ``top_n`` of a fit that was scored."""
    scored = measured.outcome.quality
    serving = {name: getattr(scored, name) if scored else math.nan for name in ("transform", "top_n")}
    return fit_times(measured.outcome) | {"memory": float(measured.peak)} | serving


def ratios(ours: Sequence[Measured], spark: Sequence[Measured]) -> dict[str, Ratio]:
    """pyspark.ml.ALS over BlockALS by measure, repeat by repeat: above 1, BlockALS takes less."""
    pairs = [(measures(a), measures(b)) for a, b in zip(ours, spark, strict=True)]
    found = {}
    for name in MEASURES:
        values = [b[name] / a[name] for a, b in pairs if a[name] > 0 and b[name] > 0]
        found[name] = Ratio(tuple(values))
    return found


def typical(runs: Sequence[Measured], name: str) -> float:
    """The median of a measure over the repeats; NaN where none has it."""
    values = [value for run in runs if math.isfinite(value := measures(run)[name])]
    return statistics.median(values) if values else math.nan
