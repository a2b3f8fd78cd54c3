"""Figures of a study's results; driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from recsys_spark.evaluate.figures import (
    ACCENT,
    DATA_COLOUR,
    MODEL_COLOUR,
    PALETTE,
    dress,
    new_figure,
    popularity_bins,
)
from recsys_spark.study.report import FULL, title

_SHOWN = (FULL, "no_features", "no_graph", "biases_only", "pyspark_als")
Results = Mapping[str, Mapping[str, Any]]
"""By variant: what `ablation.outcome.summary` found, and ``against_full``."""


def rmse_by_variant(results: Results) -> Figure:
    """Mean test RMSE of each variant, its folds as dots, and the corrected 95 % interval of its distance from full."""
    figure = new_figure(8.5, 1.6 + 0.36 * len(results))
    axes = figure.subplots()
    full = results[FULL]["rmse"]
    names = sorted(results, key=lambda name: -results[name]["rmse"])
    for at, name in enumerate(names):
        found = results[name]
        axes.scatter(found["rmse_folds"], [at] * len(found["rmse_folds"]), color=DATA_COLOUR, s=14, zorder=2)
        against = found["against_full"]
        if against and against["low"] is not None:
            ends = [full + against["low"], full + against["high"]]
            axes.plot(ends, [at, at], color=MODEL_COLOUR, linewidth=2.5, zorder=3)
        axes.scatter([found["rmse"]], [at], color=ACCENT if name == FULL else MODEL_COLOUR, s=40, zorder=4)
    axes.axvline(full, color=ACCENT, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), [title(name) for name in names])
    heading = "Test RMSE: mean, folds, 95 % interval of Δ to full"
    dress(axes, heading, "RMSE (rating units)", "")
    axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
    return figure


def seconds(results: Results) -> Figure:
    """Seconds of a fit of each variant."""
    figure = new_figure(7.5, 1.4 + 0.3 * len(results))
    axes = figure.subplots()
    names = sorted(results, key=lambda name: results[name]["seconds"])
    bars = axes.barh(range(len(names)), [results[name]["seconds"] for name in names], color=MODEL_COLOUR, height=0.6)
    axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=9)
    axes.set_yticks(range(len(names)), [title(name) for name in names])
    dress(axes, "Seconds of a fit, one core each (pyspark.ml.ALS: Spark's)", "seconds", "")
    return figure


def bins(results: Results, labels: list[str]) -> Figure:
    """RMSE by popularity of the film, of a few variants."""
    shown = [name for name in _SHOWN if name in results]
    rows = [part["rows"] for part in results[FULL]["bins"]]
    values = {title(n): [math.nan if b["rmse"] is None else b["rmse"] for b in results[n]["bins"]] for n in shown}
    return popularity_bins(labels, rows, values)


def learning_curves(results: Results, trials: Mapping[str, Mapping[str, Any]]) -> Figure:
    """RMSE in training by iteration, of each variant in the first fold; and the best trials' RMSE on inner folds."""
    figure = new_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2)
    for at, (name, found) in enumerate((n, f) for n, f in results.items() if len(f["curve"]) > 1):
        style = "-" if at < len(PALETTE) else "--"
        left.plot(
            range(1, len(found["curve"]) + 1),
            found["curve"],
            style,
            color=PALETTE[at % len(PALETTE)],
            label=title(name),
        )
    for at, (name, report) in enumerate(trials.items()):
        curve = report["best"]["curve"]
        right.plot(range(1, len(curve) + 1), curve, color=PALETTE[at % len(PALETTE)], label=name)
    dress(left, "Training, first fold", "iteration", "RMSE (rating units)")
    dress(right, "Best trial of each search, its own folds", "iteration", "RMSE (rating units)")
    if left.lines:
        left.legend(frameon=False, fontsize=8, ncols=2)
    right.legend(frameon=False, fontsize=8)
    return figure
