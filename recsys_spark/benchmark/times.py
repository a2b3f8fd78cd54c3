"""From timed fits to figures: build, iteration, memory, … of each contender, and their ratios. No Spark here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.spec import Outcome

COMPARED = (
    "iteration",
    "build",
    "build_warm",
    "build_derived",
    "first_iteration",
    "fit",
    "memory",
    "shuffled",
    "transform",
    "top_n",
    "save",
    "load",
)
"""Figures that ratios are made of; seconds, but for memory and shuffled (bytes)."""


@dataclass(frozen=True)
class Ratio:
    """How many times as much the baseline takes, over the repeats; the median is the claim."""

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


class Point(NamedTuple):
    """RMSE on the held-out ratings after so many seconds of a fit, reading and building included."""

    iterations: int
    seconds: float
    rmse: float


def fit_times(outcome: Outcome) -> dict[str, float]:
    """Seconds by figure, NaN where the process timed nothing that tells.

    - ``build``: T(0 iterations) from Parquet, the first fit of the process; ``build_warm``: the second such;
    - ``build_derived``: T(0) from a DataFrame that is no bare Parquet scan;
    - ``iteration``: (T(m) − T(1)) / (m − 1), m the most iterations of any fit;
    - ``first_iteration``: T(1) − T(0), of warm fits;
    - ``compile``: the first iteration of the process less the median of those that were not the first of their fit, as
      the fits' own history tells them.
    """
    parquet: dict[int, list[float]] = {}
    for phase in outcome.phases:
        if phase.order.source == "parquet" and phase.order.reg is None:
            parquet.setdefault(phase.order.max_iter, []).append(phase.seconds)
    derived = [phase.seconds for phase in outcome.phases if phase.order.source == "derived"]
    builds, ones = parquet.get(0, []), parquet.get(1, [])
    most = max(parquet, default=0)
    return {
        "build": builds[0] if builds else math.nan,
        "build_warm": builds[1] if len(builds) > 1 else math.nan,
        "build_derived": derived[0] if derived else math.nan,
        "iteration": _positive((parquet[most][0] - ones[0]) / (most - 1)) if ones and most > 1 else math.nan,
        "first_iteration": _positive(ones[0] - builds[-1]) if ones and builds else math.nan,
        "compile": compile_seconds(outcome),
    }


def compile_seconds(outcome: Outcome) -> float:
    """First iteration of the process less the median of all that were not first in their fit; NaN without history."""
    histories = [phase.course.seconds for phase in outcome.phases if phase.course.seconds]
    later = [seconds for history in histories for seconds in history[1:]]
    return histories[0][0] - statistics.median(later) if later else math.nan


def figures(measured: Measured) -> dict[str, float]:
    """`fit_times`, ``memory`` (peak Σ PSS in bytes), and of the fit that was judged last what it took and found."""
    out = fit_times(measured.outcome) | {"memory": float(measured.peak) if measured.peak else math.nan}
    last = next((phase for phase in reversed(measured.outcome.phases) if phase.order.judged), None)
    names = ("validation_rmse", "test_rmse", "test_mae"), ("transform", "top_n", "save", "load")
    out |= dict.fromkeys(("fit", "shuffled", "moved", *names[0], *names[1]), math.nan)
    if last is None:
        return out
    out |= {"fit": last.seconds, "moved": last.course.moved}
    out["shuffled"] = math.nan if last.shuffled is None else float(last.shuffled)
    for found, wanted in zip((last.judged, last.served), names, strict=True):
        values = {name: getattr(found, name) for name in wanted} if found is not None else {}
        out |= {name: float(value) for name, value in values.items() if value is not None}
    return out


def curve(outcome: Outcome) -> list[Point]:
    """Validation RMSE against seconds: of one fit where it keeps a history, else a fit a point."""
    judged = [phase for phase in outcome.phases if phase.order.judged]
    if judged and judged[-1].course.validation:
        last = judged[-1]
        at = last.apart
        points = []
        for number, (seconds, rmse) in enumerate(zip(last.course.seconds, last.course.validation, strict=True), 1):
            at += seconds
            if rmse is not None:
                points.append(Point(number, at, rmse))
        return points
    found = {phase.order.max_iter: phase for phase in judged}
    return [
        Point(number, phase.seconds, phase.judged.validation_rmse)
        for number, phase in sorted(found.items())
        if phase.judged is not None and phase.judged.validation_rmse is not None
    ]


def seconds_to(points: Sequence[Point], target: float) -> float:
    """Seconds until the validation RMSE is `target` or lower for the first time; NaN: it never is."""
    return min((point.seconds for point in points if point.rmse <= target), default=math.nan)


def after_the_first(values: Sequence[float]) -> float:
    """The median over a fit's iterations but for the first, which may load kernels; of the first alone; NaN of none."""
    return statistics.median(values[1:] or values) if values else math.nan


def iteration_of(measured: Measured) -> float:
    """Seconds of an iteration after the first: the median by the fits' own history, or else that of `fit_times`."""
    later = [seconds for phase in measured.outcome.phases for seconds in phase.course.seconds[1:]]
    return statistics.median(later) if later else fit_times(measured.outcome)["iteration"]


def ratios(ours: Sequence[Measured], baseline: Sequence[Measured]) -> dict[str, Ratio]:
    """Baseline over ours by figure, repeat by repeat: above 1, ours takes less."""
    pairs = [(figures(a), figures(b)) for a, b in zip(ours, baseline, strict=True)]
    return {name: Ratio(tuple(b[name] / a[name] for a, b in pairs if a[name] > 0 and b[name] > 0)) for name in COMPARED}


def typical(runs: Sequence[Measured], name: str) -> float:
    """The median of a figure over the repeats; NaN where none has it."""
    values = [value for run in runs if math.isfinite(value := figures(run)[name])]
    return statistics.median(values) if values else math.nan


def _positive(seconds: float) -> float:
    """NaN where noise was larger than the work."""
    return seconds if seconds > 0 else math.nan
