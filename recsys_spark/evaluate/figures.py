"""Figures of a fit and its evaluation, with matplotlib's object interface (no pyplot, no global state); driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

MODEL_COLOUR = "#1f5fa8"
DATA_COLOUR = "#9aa5b1"
ACCENT = "#d1495b"
# After Okabe and Ito, distinguishable without colour vision too; darker, for the white figures on the bars.
PALETTE = (MODEL_COLOUR, "#c77700", "#009e73", "#cc79a7", "#8c6d46", "#56b4e9", "#6b7280")
INK = "#2b2f36"
_DPI = 160
_MAX_TICKS = 25


def learning_curve(history: pa.Table, best_iteration: int) -> Figure:
    """Objective J above, RMSE in training and validation below, by iteration; the iteration that was kept is marked.

    Parameters
    ----------
    history : one row per iteration, as `recsys_spark.als.model.HISTORY_SCHEMA` has it
    best_iteration : the one whose factors the model holds
    """
    figure = new_figure(7.5, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.25])
    iterations = history["iteration"].to_numpy()
    marker = "o" if len(iterations) <= 60 else None

    upper.plot(iterations, history["objective"].to_numpy(), color=INK, marker=marker, markersize=4)
    upper.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    dress(upper, "Learning curve", None, "objective J")

    for name, label, colour in (
        ("train_rmse", "training", DATA_COLOUR),
        ("validation_rmse", "validation", MODEL_COLOUR),
    ):
        values = history[name].to_numpy()
        if np.isfinite(values).any():
            lower.plot(iterations, values, color=colour, marker=marker, markersize=4, linewidth=2, label=label)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    dress(lower, None, "iteration", "RMSE (rating units)")
    kept = f"kept: iteration {best_iteration}"
    for axes in (upper, lower):
        axes.axvline(best_iteration, color=ACCENT, linestyle="--", linewidth=1.2, label=kept)
    lower.legend(frameon=False)
    return figure


def rating_histogram(classes: Sequence[float], ratings: Sequence[int], predictions: Sequence[int]) -> Figure:
    """Share of the test ratings, and of the predictions for them, in each rating class.

    Parameters
    ----------
    classes : values that a rating may take
    ratings, predictions : counts by class; a prediction counts in its nearest class
    """
    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    x = np.arange(len(classes))
    for offset, counts, colour, label in (
        (-0.21, ratings, DATA_COLOUR, "ratings"),
        (0.21, predictions, MODEL_COLOUR, "predictions, in the nearest class"),
    ):
        shares = np.asarray(counts) / max(sum(counts), 1)
        axes.bar(x + offset, shares, width=0.42, color=colour, label=label)
    every = 1 + len(classes) // _MAX_TICKS
    axes.set_xticks(x[::every], [f"{value:g}" for value in classes[::every]])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    dress(axes, f"Ratings and predictions ({sum(ratings):,} test rows)", "rating", "share of test rows")
    axes.legend(frameon=False, loc="upper left")
    return figure


def popularity_bins(labels: Sequence[str], rows: Sequence[int], rmse: Mapping[str, Sequence[float]]) -> Figure:
    """RMSE by popularity of the item, a bar for each predictor; bins without test rows are left out.

    Parameters
    ----------
    labels, rows : name of each bin, and how many test rows it has
    rmse : of each bin, by the predictor's name; the first is the model
    """
    kept = [b for b, n in enumerate(rows) if n]
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    width = 0.84 / max(len(rmse), 1)
    x = np.arange(len(kept))
    for i, (name, values) in enumerate(rmse.items()):
        at = x + (i - (len(rmse) - 1) / 2) * width
        heights = [values[b] for b in kept]
        bars = axes.bar(at, heights, width=width * 0.92, color=PALETTE[i % len(PALETTE)], label=name)
        axes.bar_label(bars, fmt="{:.3f}", label_type="center", rotation=90, fontsize=9, color="white")
    axes.set_xticks(x, [f"{labels[b]}\n{rows[b]:,} rows" for b in kept])
    dress(axes, "Error by popularity of the item", "training ratings of the item · test rows", "RMSE (rating units)")
    axes.set_ylim(0, 1.06 * max((values[b] for values in rmse.values() for b in kept), default=1.0))
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=min(len(rmse), 5))
    return figure


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each as ``<name>.png`` into a local folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        # Without the version of matplotlib in it, the same figure is the same file.
        figure.savefig(path, dpi=_DPI, facecolor="white", metadata={"Software": None})
    return paths


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that keeps a margin and makes room for labels."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))


def dress(axes: Axes, title: str | None, x: str | None, y: str) -> None:
    """Title, labels and colours of all figures."""
    style: dict[str, Any] = {"color": INK, "fontsize": 10.5}
    if title:
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=10)
    if x:
        axes.set_xlabel(x, **style)
    axes.set_ylabel(y, **style)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DATA_COLOUR)
    axes.tick_params(colors=INK, labelsize=9.5, length=3)
    axes.grid(axis="y", color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
