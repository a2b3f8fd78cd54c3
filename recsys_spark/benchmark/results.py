"""What was measured as one record, of which every table, figure and metric is made. No Spark here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from recsys_spark.benchmark.convergence import reached
from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.heap import smallest
from recsys_spark.benchmark.kept import as_record
from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.schedule import Found, cores_of
from recsys_spark.benchmark.spec import PHASES
from recsys_spark.benchmark.times import (
    Point,
    Ratio,
    after_the_first,
    curve,
    figures,
    fit_times,
    iteration_of,
    ratios,
    seconds_to,
)
from recsys_spark.benchmark.weak import weak_point
from recsys_spark.config import BenchmarkSettings

TO_TARGET = "to_target"


def record_of(found: Found, options: BenchmarkSettings, prepared: Prepared) -> dict[str, Any]:
    """Everything, as JSON-able values; NaN is None.

    - ``contenders``: by name, each with ``figures`` (median, min, max, values), ``curve`` (iterations, seconds,
      RMSE), the λs tried and the smallest heap;
    - ``target``: the best validation RMSE of any pyspark.ml.ALS, and whose;
    - ``ratios``: baseline over ours, median, min and max; ``to_target`` is the fastest pyspark.ml.ALS to the target;
    - ``scaling``, ``convergence``, ``weak``, ``trials``, ``published``, ``processes``.
    """
    target = _target(found, options)
    contenders = {name: _contender(name, runs, found, options, target) for name, runs in found.runs.items()}
    for name, tried in found.heaps.items():
        contenders.setdefault(name, _bare(options.known[name].kind))["heap_tried"] = tried
        contenders[name]["figures"]["heap"] = _spread([smallest(tried) * 2.0**20])
    return plain(
        {
            "rows": dict(prepared.rows),
            "oracle_rmse": prepared.oracle_rmse,
            "terms": _terms(found, options),
            "target": target,
            "contenders": contenders,
            "ratios": {name: _ratio(ratio) for name, ratio in _ratios(found, options, contenders).items()},
            "trials": [asdict(t) | {"choice": t.choice.model_dump()} for t in found.trials],
            "scaling": [
                {
                    "contender": name,
                    "axis": axis,
                    "at": at,
                    "ratings": run.outcome.size.ratings,
                    "seconds": iteration_of(run),
                }
                for name, axis, at, run in found.scaled
            ],
            "convergence": [_converged(relaxation, run) for relaxation, run in found.relaxed],
            "weak": [weak_point(*point) for point in found.weak],
            "published": {n: r.model_dump(mode="json") for n, r in options.published.items() if r is not None},
            "processes": [as_record(run) for runs in (*found.runs.values(), found.cold.values()) for run in runs],
        }
    )


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Flat numbers: ``ratios.NAME`` (a median), .min, .max, and ``CONTENDER.FIGURE``."""
    out: dict[str, float] = {}
    for name, ratio in record["ratios"].items():
        out |= {
            f"ratios.{name}": ratio["median"],
            f"ratios.{name}.min": ratio["min"],
            f"ratios.{name}.max": ratio["max"],
        }
    for name, contender in record["contenders"].items():
        out |= {f"{name}.{figure}": spread["median"] for figure, spread in contender["figures"].items()}
    for point in record["scaling"]:
        out[f"scaling.{point['contender']}.{point['axis']}_{point['at']:.15g}"] = point["seconds"]
    if record["convergence"]:
        plain, relaxed = record["convergence"]
        out |= {f"convergence.reached.{n}": at for n, at in reached(plain, relaxed).items() if at is not None}
        out |= {"convergence.plain.iteration": plain["iteration"]}
        out |= {"convergence.relaxed.iteration": relaxed["iteration"]}
    for point in record.get("weak", ()):  # records of earlier releases have none
        key = f"weak.{point['exchange_by']}.executors_{point['executors']}"
        out |= {f"{key}.{name}": point[name] for name in ("seconds", "moved", *PHASES)}
    if record["oracle_rmse"] is not None:
        out["oracle_rmse"] = record["oracle_rmse"]
    return {name: math.nan if value is None else float(value) for name, value in out.items()}


def plain(value: Any) -> Any:
    """Values with None for numbers that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _contender(
    name: str, runs: Sequence[Measured], found: Found, options: BenchmarkSettings, target: Mapping[str, Any] | None
) -> dict[str, Any]:
    every = [figures(run) for run in runs]
    points = [curve(run.outcome) for run in runs]
    values = {figure: [one[figure] for one in every] for figure in every[0]}
    if target is not None:
        values[TO_TARGET] = [seconds_to(each, target["rmse"]) for each in points]
    shown = {figure: _spread(numbers) for figure, numbers in values.items()}
    if name == next(iter(found.cold), None):  # the others found most of theirs compiled
        shown["compile_cold"] = _spread([fit_times(found.cold[name].outcome)["compile"]])
    return _bare(options.known[name].kind) | {
        "plan": runs[0].spec.plan.model_dump(mode="json"),
        "reg": found.best.get(name),
        "regs": found.regs.get(name, {}),
        "figures": {figure: spread for figure, spread in shown.items() if spread["values"]},
        "curve": [list(point) for point in points[0]],
    }


def _converged(relaxation: float, run: Measured) -> dict[str, Any]:
    course = run.outcome.phases[0].course
    return {
        "relaxation": relaxation,
        "objective": course.objective,
        "validation": course.validation,
        "iteration": after_the_first(course.seconds),
    }


def _bare(kind: str) -> dict[str, Any]:
    return {"kind": kind, "plan": {"graph": None}, "reg": None, "regs": {}, "figures": {}, "curve": []}


def _target(found: Found, options: BenchmarkSettings) -> dict[str, Any] | None:
    """The lowest point of all curves of pyspark.ml.ALS; None where it is not measured."""
    best: tuple[float, str, Point] | None = None
    for name, runs in found.runs.items():
        if options.known[name].kind == "pyspark":
            for point in curve(runs[0].outcome):
                if best is None or point.rmse < best[0]:
                    best = (point.rmse, name, point)
    return None if best is None else {"rmse": best[0], "contender": best[1], "iterations": best[2].iterations}


def _ratios(found: Found, options: BenchmarkSettings, contenders: Mapping[str, Any]) -> dict[str, Ratio]:
    pair = {options.ours, options.baseline}
    if not pair <= set(contenders):
        return {}
    out = ratios(found.runs[options.ours], found.runs[options.baseline]) if pair <= set(found.runs) else {}
    own = contenders[options.ours]["figures"]
    theirs = [
        contender["figures"][TO_TARGET]["values"]
        for contender in contenders.values()
        if contender["kind"] == "pyspark" and TO_TARGET in contender["figures"]
    ]
    if theirs and TO_TARGET in own:
        # Measured once, where it is another contender than the baseline: each repeat of ours is set against it.
        fastest = min(theirs, key=statistics.median)
        times = fastest if len(fastest) == len(own[TO_TARGET]["values"]) else [statistics.median(fastest)]
        values = [times[at % len(times)] / mine for at, mine in enumerate(own[TO_TARGET]["values"])]
        out[TO_TARGET] = Ratio(tuple(values))
    other = contenders[options.baseline]["figures"]
    for figure in ("test_rmse", "test_mae", "heap"):
        if figure in own and figure in other:
            out[figure] = Ratio((other[figure]["median"] / own[figure]["median"],))
    return {name: ratio for name, ratio in out.items() if ratio.values}


def _terms(found: Found, options: BenchmarkSettings) -> dict[str, Any]:
    runs = [run for each in found.runs.values() for run in each]
    blas = next((run.outcome.blas for run in runs if run.outcome.blas), None)
    names = ("rank", "max_iter", "iterations", "repeats", "driver_memory", "ours", "baseline")
    return {
        **{name: getattr(options, name) for name in names},
        "cores": cores_of(options),
        "choice": found.choice.model_dump() if found.choice else None,
        "blas": blas,
        "seconds_between_samples": statistics.median(run.between for run in runs) if runs else None,
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    told = [value for value in values if math.isfinite(value)]
    if not told:
        return {"median": None, "min": None, "max": None, "values": []}
    return {"median": statistics.median(told), "min": min(told), "max": max(told), "values": told}


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {"median": ratio.median, "min": ratio.low, "max": ratio.high, "values": list(ratio.values)}
