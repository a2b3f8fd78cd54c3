"""Figures of searches (how they went, which parameters mattered, where good values lie) and of sweeps; driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from recsys_spark.evaluate.figures import ACCENT, DATA_COLOUR, INK, MODEL_COLOUR, PALETTE, dress, new_figure

if TYPE_CHECKING:
    import pandas as pd

Reports = Mapping[str, Mapping[str, Any]]
"""By search: its ``trials``, ``importances`` and ``best``, as `tuning.job.report_of` makes them."""


def history(reports: Reports) -> Figure:
    """Every trial's score in its turn, and the best so far, by search."""
    figure = new_figure(8.5, 4.6)
    axes = figure.subplots()
    for at, (name, report) in enumerate(reports.items()):
        colour = PALETTE[at % len(PALETTE)]
        for pruned in (False, True):
            kept = [t for t in report["trials"] if t["pruned"] == pruned]
            x, y = [t["number"] + 1 for t in kept], [t["value"] for t in kept]
            axes.scatter(x, y, color=colour, s=14, alpha=0.3 if pruned else 0.7, linewidths=0)
        whole = [math.inf if t["pruned"] else t["value"] for t in report["trials"]]
        best = [value if math.isfinite(value) else math.nan for value in accumulate(whole, min)]
        axes.step(range(1, len(best) + 1), best, where="post", color=colour, label=name)
    scores = sorted(t["value"] for report in reports.values() for t in report["trials"])
    axes.set_ylim(scores[0] - 0.002, scores[int(0.9 * (len(scores) - 1))] + 0.002)
    dress(axes, "Trials and the best so far (pale: pruned)", "trial", "mean RMSE over its folds")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return figure


def importances(reports: Reports) -> Figure:
    """Share of each parameter in the spread of scores, the mean over searches, and each search as a dot."""
    names = {name for report in reports.values() for name in report["importances"]}
    found = {n: [r["importances"][n] for r in reports.values() if n in r["importances"]] for n in names}
    ordered = sorted(found.items(), key=lambda entry: sum(entry[1]) / len(entry[1]))
    figure = new_figure(7.5, 1.6 + 0.32 * max(len(ordered), 1))
    axes = figure.subplots()
    for at, (_, values) in enumerate(ordered):
        axes.barh(at, sum(values) / len(values), color=DATA_COLOUR, height=0.6)
        axes.scatter(values, [at] * len(values), color=MODEL_COLOUR, s=12, zorder=3)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    dress(axes, "Importance of the parameters (PED-ANOVA)", "share of the spread among good trials", "")
    return figure


def slices(reports: Reports) -> Figure:
    """Score against each parameter, all searches together; the best trial of each is marked."""
    names = list(dict.fromkeys(n for r in reports.values() for t in r["trials"] for n in t["params"]))
    columns = 4
    rows = max(1, -(-len(names) // columns))
    figure = new_figure(11, 2.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        for report in reports.values():
            kept = [t for t in report["trials"] if name in t["params"]]
            axes.scatter(*_points(kept, name), color=DATA_COLOUR, s=10, alpha=0.6, linewidths=0)
        for report in reports.values():
            if name in report["best"]["params"]:
                axes.scatter(*_points([report["best"]], name), color=ACCENT, s=22, zorder=3)
        shown = [t["params"][name] for r in reports.values() for t in r["trials"] if name in t["params"]]
        if all(isinstance(v, float) and v > 0 for v in shown) and max(shown) > 5 * min(shown):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        dress(axes, None, name, "")
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure


def sweep(means: pd.DataFrame, folds: pd.DataFrame, name: str, *, log: bool) -> Figure:
    """RMSE in training and test against a parameter, the gap between them shaded and, below, by itself.

    Parameters
    ----------
    means : (value, train_rmse, test_rmse, gap), a row a value, ascending
    folds : the same, a row a value and fold, drawn as dots
    """
    figure = new_figure(7.5, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    for column, label, colour in (("train_rmse", "training", DATA_COLOUR), ("test_rmse", "test", MODEL_COLOUR)):
        upper.scatter(folds["value"], folds[column], color=colour, s=10, alpha=0.5, linewidths=0)
        upper.plot(means["value"], means[column], color=colour, marker="o", markersize=4, linewidth=2, label=label)
    upper.fill_between(means["value"], means["train_rmse"], means["test_rmse"], color=MODEL_COLOUR, alpha=0.07)
    best = means.loc[means["test_rmse"].idxmin()]
    found = f"best in test: {best['value']:g} (RMSE {best['test_rmse']:.4f})"
    upper.axvline(best["value"], color=ACCENT, linestyle="--", linewidth=1.2, label=found)
    lower.axvline(best["value"], color=ACCENT, linestyle="--", linewidth=1.2)
    lower.scatter(folds["value"], folds["gap"], color=INK, s=10, alpha=0.4, linewidths=0)
    lower.plot(means["value"], means["gap"], color=INK, marker="o", markersize=4, linewidth=2)
    if log:
        lower.set_xscale("log")
    lower.set_xticks(means["value"], [f"{value:g}" for value in means["value"]], minor=False)
    lower.set_xticks([], minor=True)
    dress(upper, f"RMSE against {name}", None, "RMSE (rating units)")
    dress(lower, None, name, "test − training")
    upper.legend(frameon=False)
    return figure


def _points(trials: list[Any], name: str) -> tuple[list[Any], list[float]]:
    values = [t["params"][name] for t in trials]
    return [v if isinstance(v, (int, float)) else _text(v) for v in values], [t["value"] for t in trials]


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
