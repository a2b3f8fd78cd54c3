"""The benchmark as a record (JSON), as flat metrics for the job's line, and as tables for people. No Spark here."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from recsys_spark.benchmark.convergence import Curve
from recsys_spark.benchmark.kernels import KernelSpeed
from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.scaling import Scaled
from recsys_spark.benchmark.spec import OURS, SPARK, TOP_N, Quality, SparkChoice
from recsys_spark.benchmark.times import MEASURES, fit_times, measures, ratios, typical

WIDTH = 110
_KEYS = {"ours": OURS, "spark": SPARK}
_TITLES = {
    "iteration": "iteration, s",
    "build": "build, s (first in the process)",
    "build_warm": "build again, s",
    "build_derived": "build from a derived DataFrame, s",
    "memory": "peak Σ PSS, GiB",
    "transform": "predict the test rows, s",
    "top_n": f"top {TOP_N} of every user to Parquet, s",
}


@dataclass(frozen=True)
class Trial:
    """One setting of pyspark.ml.ALS in the sweep; seconds.

    Attributes
    ----------
    first : T(1), building included
    iteration : of each further one
    fit : of a whole fit of ten iterations, reckoned from the two
    """

    choice: SparkChoice
    first: float
    iteration: float
    fit: float


@dataclass(frozen=True)
class Comparison:
    """All that was measured of the two contenders.

    Attributes
    ----------
    ours, spark : one a repeat, in order
    cold : BlockALS where nothing was compiled before
    sweep : settings of pyspark.ml.ALS that were tried, empty where there was but one
    rows : ratings by part
    oracle_rmse : see `data.Prepared`
    """

    ours: Sequence[Measured]
    spark: Sequence[Measured]
    cold: Measured
    sweep: Sequence[Trial]
    rows: Mapping[str, int]
    oracle_rmse: float | None

    def quality(self) -> dict[str, Quality]:
        """The scored fits, by contender: those of the last repeat."""
        scored = {run.spec.contender: run.outcome.quality for run in (self.ours[-1], self.spark[-1])}
        return {name: quality for name, quality in scored.items() if quality is not None}

    def metrics(self) -> dict[str, float]:
        """Numbers by dotted name; ``ratios.NAME`` (a median), .min and .max are pyspark.ml.ALS over BlockALS."""
        out: dict[str, float] = {}
        for name, ratio in ratios(self.ours, self.spark).items():
            out |= {f"ratios.{name}": ratio.median, f"ratios.{name}.min": ratio.low, f"ratios.{name}.max": ratio.high}
        for key, runs in zip(_KEYS, (self.ours, self.spark), strict=True):
            out |= {f"{key}.{name}": typical(runs, name) for name in (*MEASURES, "first_extra")}
        out["compile.cold"] = fit_times(self.cold.outcome)["compile"]
        out["compile.warm"] = typical(self.ours, "compile")
        quality = self.quality()
        for key, name in _KEYS.items():
            found = quality[name]
            out |= {f"{key}.test_rmse": found.test_rmse, f"{key}.fit_iterations": found.iterations}
            out[f"{key}.fit_seconds"] = found.seconds
            if self.oracle_rmse is not None:
                out[f"{key}.above_oracle"] = found.test_rmse / self.oracle_rmse - 1
        if self.oracle_rmse is not None:
            out["oracle_rmse"] = self.oracle_rmse
        return out

    def record(self) -> dict[str, Any]:
        """Everything, as JSON-able values; NaN is None."""
        return {
            "metrics": plain(self.metrics()),
            "ratios": {name: plain({"values": r.values}) for name, r in ratios(self.ours, self.spark).items()},
            "rows": dict(self.rows),
            "oracle_rmse": self.oracle_rmse,
            "blas": self.blas,
            "sweep": [plain(asdict(t) | {"choice": t.choice.model_dump()}) for t in self.sweep],
            "runs": {
                "cold": _run(self.cold),
                OURS: [_run(run) for run in self.ours],
                SPARK: [_run(run) for run in self.spark],
            },
        }

    @property
    def blas(self) -> str:
        """The BLAS class that Spark found."""
        return self.spark[-1].outcome.blas or "none"

    def summary(self) -> str:
        """Tables for people."""
        out = io.StringIO()
        console = Console(file=out, width=WIDTH)
        spec = self.spark[-1].spec
        choice, numbers = spec.spark, self.metrics()
        console.print(
            f"{self.rows['train']:,} training ratings, rank {spec.train.rank}, {spec.cores} cores, "
            f"{spec.driver_memory} of driver memory each, {len(self.ours)} repeats\n"
            f"pyspark.ml.ALS: {choice.blocks} blocks, ratings {'' if choice.cache else 'not '}cached, {self.blas}\n"
        )
        if self.sweep:
            console.print(_sweep_table(self.sweep, choice))
        console.print(_ratio_table(self))
        console.print(
            f"Compiling in the first iteration: {numbers['compile.cold']:.2f} s cold, "
            f"{numbers['compile.warm']:.2f} s from the cache"
        )
        oracle = numbers.get("oracle_rmse")
        quality = self.quality()
        for key, name in _KEYS.items():
            found = quality[name]
            above = "" if oracle is None else f", {numbers[f'{key}.above_oracle']:.2%} above the oracle's {oracle:.4f}"
            console.print(
                f"{name}: test RMSE {found.test_rmse:.4f} after {found.iterations} iterations in "
                f"{found.seconds:.1f} s{above}"
            )
        return out.getvalue()


def kernel_metrics(speeds: Sequence[KernelSpeed]) -> dict[str, float]:
    """Numbers by dotted name."""
    out: dict[str, float] = {}
    for speed in speeds:
        key = f"kernels.rank_{speed.rank}"
        out |= {f"{key}.gflops": speed.gflops, f"{key}.sgemm": speed.sgemm, f"{key}.share": speed.share}
    return out


def kernel_summary(speeds: Sequence[KernelSpeed]) -> str:
    """A table for people."""
    table = Table(title="half_sweep beside sgemm, one thread", title_justify="left")
    for heading in ("rank", "ratings", "seconds", "useful GF/s", "sgemm GF/s", "share"):
        table.add_column(heading, justify="right")
    for s in speeds:
        row = (s.rank, f"{s.ratings:,}", f"{s.seconds:.3f}", f"{s.gflops:.1f}", f"{s.sgemm:.1f}", f"{s.share:.1%}")
        table.add_row(*map(str, row))
    return _printed(table)


def _printed(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=WIDTH).print(table)
    return out.getvalue()


def scaling_metrics(found: Sequence[Scaled]) -> dict[str, float]:
    """Flat numbers of `scaling.iteration_seconds`, by share of the users."""
    return {
        f"scaling.share_{s.share:g}.{name}": float(getattr(s, name))
        for s in found
        for name in ("ratings", "seconds", "compute")
    }


def scaling_summary(found: Sequence[Scaled]) -> str:
    """A table for people: were an iteration linear in ratings, the last column would be constant."""
    table = Table(title="BlockALS: an iteration by number of ratings", title_justify="left")
    for heading in ("ratings", "seconds", "of these arithmetic", "ns a rating"):
        table.add_column(heading, justify="right")
    for s in found:
        each = 1e9 * s.seconds / s.ratings if s.ratings else math.nan
        table.add_row(f"{s.ratings:,}", f"{s.seconds:.2f}", f"{s.compute:.2f}", f"{each:.0f}")
    return _printed(table)


def convergence_metrics(base: Curve, relaxed: Curve) -> dict[str, float]:
    """Flat numbers of `convergence.curves`: iterations that the second fit takes to J of the first, by the first's."""
    found = {n: relaxed.reaches(base.objective[n - 1]) for n in _shown(base)}
    reached = {f"convergence.reached.{n}": float(at) for n, at in found.items() if at is not None}
    return reached | {"convergence.seconds.plain": base.seconds, "convergence.seconds.relaxed": relaxed.seconds}


def convergence_summary(base: Curve, relaxed: Curve) -> str:
    """A table for people."""
    table = Table(title=f"BlockALS: relaxation {base.relaxation:g} and {relaxed.relaxation:g}", title_justify="left")
    for heading in ("iteration", "J", "relaxed", "reached after", "validation", "relaxed"):
        table.add_column(heading, justify="right")
    for n in _shown(base):
        at = relaxed.reaches(base.objective[n - 1])
        both = [f"{curve.objective[n - 1]:,.1f}" for curve in (base, relaxed)]
        scores = [f"{curve.validation_rmse[n - 1]:.5f}" for curve in (base, relaxed)]
        table.add_row(str(n), *both, "not" if at is None else str(at), *scores)
    seconds = f"seconds an iteration: {base.seconds:.3f}, relaxed {relaxed.seconds:.3f}\n"
    return _printed(table) + seconds


def _shown(curve: Curve) -> list[int]:
    """Iterations that a table shows."""
    last = len(curve.objective)
    return [n for n in (1, 2, 3, 5, 10, 15, 20, 30, 50, 100) if n < last] + [last]


def plain(value: Any) -> Any:
    """Values with None for numbers that JSON lacks."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _run(run: Measured) -> dict[str, Any]:
    costs = [b.at - a.at for a, b in zip(run.samples, run.samples[1:], strict=False)]
    return {
        "spec": run.spec.model_dump(mode="json"),
        "outcome": run.outcome.model_dump(mode="json"),
        "measures": plain(measures(run)),
        "samples": len(run.samples),
        "seconds_between_samples": plain(statistics.median(costs) if costs else math.nan),
    }


def _sweep_table(sweep: Sequence[Trial], best: SparkChoice) -> Table:
    table = Table(title="pyspark.ml.ALS, tried once each", title_justify="left")
    for heading in ("blocks", "ratings", "one iteration, s", "each further, s", "ten, s", ""):
        table.add_column(heading, justify="right")
    for trial in sweep:
        cells = [f"{value:.2f}" for value in (trial.first, trial.iteration, trial.fit)]
        mark = "best" if trial.choice == best else ""
        table.add_row(str(trial.choice.blocks), "cached" if trial.choice.cache else "not cached", *cells, mark)
    return table


def _ratio_table(comparison: Comparison) -> Table:
    table = Table(title="Medians, and how many times as much pyspark.ml.ALS takes", title_justify="left")
    for heading in ("", OURS, SPARK, "ratio", "min", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, ratio in ratios(comparison.ours, comparison.spark).items():
        unit = 2.0**30 if name == "memory" else 1.0
        values = [typical(runs, name) / unit for runs in (comparison.ours, comparison.spark)]
        cells = [f"{value:.2f}" for value in (*values, ratio.median, ratio.low, ratio.high)]
        table.add_row(_TITLES[name], *cells)
    return table
