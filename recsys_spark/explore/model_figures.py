"""Figures of a training, of what the model predicts, and of its films; driver."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from recsys_spark.evaluate.figures import ACCENT, DATA_COLOUR, INK, MODEL_COLOUR, PALETTE, dress, new_figure
from recsys_spark.evaluate.figures import popularity_bins as _popularity_bins
from recsys_spark.evaluate.report import MODEL, title
from recsys_spark.explore.embedding import leading_genre
from recsys_spark.schema import GENRES, PREDICTION, RATING, TITLE, YEAR

TERMS = {
    "sse": "squared errors",
    "reg_user": "λ users' factors",
    "reg_item": "λ films' factors",
    "reg_user_bias": "λ users' biases",
    "reg_item_bias": "λ films' biases",
    "reg_projection": "λ projections of features",
    "unobserved": "cells without a rating",
    "graph_user": "graph of users",
    "graph_item": "graph of films",
}
"""The terms of J, as the history has them, in words."""

PHASES = {
    "seconds_compute": "arithmetic",
    "seconds_exchange": "moving rows",
    "seconds_driver": "driver",
    "seconds_spark": "Spark",
}


def objective_terms(history: pa.Table) -> Figure:
    """J by iteration as the stack of its terms, and each penalty by itself; terms that stay 0 are left out."""
    used = [name for name in TERMS if name in history.column_names and np.any(history[name].to_numpy() != 0)]
    x = history["iteration"].to_numpy()
    figure = new_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    colours = {name: DATA_COLOUR if name == "sse" else PALETTE[at % len(PALETTE)] for at, name in enumerate(used, -1)}
    values = [history[name].to_numpy() for name in used]
    left.stackplot(x, *values, labels=[TERMS[n] for n in used], colors=[colours[n] for n in used], linewidth=0)
    left.plot(x, history["objective"].to_numpy(), color=INK, linewidth=1.6, label="J")
    for name, of_term in zip(used, values, strict=True):
        if name != "sse":
            right.plot(x, of_term, color=colours[name], linewidth=2, marker="o", markersize=3, label=TERMS[name])
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    left.set_ylim(0, None)
    dress(left, "Objective J, by term", "iteration", "squared rating units")
    dress(right, "The penalties", "iteration", "squared rating units")
    left.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize=9, loc="lower left")
    return figure


def phases(history: pa.Table) -> Figure:
    """Seconds of each iteration by what they went into; a first one that is far longer is cut off and said."""
    figure = new_figure(9.0, 3.4)
    axes = figure.subplots()
    x, base = history["iteration"].to_numpy(), np.zeros(len(history))
    for at, (name, label) in enumerate(PHASES.items()):
        height = np.nan_to_num(history[name].to_numpy())
        axes.bar(x, height, bottom=base, color=PALETTE[at], label=label, width=0.8)
        base = base + height
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    dress(axes, "Where the time of an iteration goes", "iteration", "seconds")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    top = base.max()
    if len(base) > 1 and base[0] > 3 * base[1:].max():
        top = 1.5 * base[1:].max()
        axes.text(x[0] + 0.6, 1.1 * top, f"iteration {x[0]}: {base[0]:.1f} s, cut off", color=INK, fontsize=9)
    axes.set_ylim(0, 1.25 * max(top, 1e-9))
    return figure


def errors_by_popularity(bins: pd.DataFrame) -> Figure:
    """RMSE of the model and the baselines by popularity of the film; a table as `Results.bins`."""
    order = [MODEL, *(p for p in dict.fromkeys(bins["predictor"]) if p != MODEL)]
    lows = bins[bins["predictor"] == MODEL].sort_values("low")
    wide = bins.pivot(index="low", columns="predictor", values="rmse").astype(float).sort_index()
    return _popularity_bins(
        lows["bin"].tolist(), lows["n"].tolist(), {title(name): wide[name].tolist() for name in order}
    )


def calibration(tables: Mapping[str, pd.DataFrame], least: int = 20) -> Figure:
    """Mean rating against prediction, by predictor (tables as `tables.calibration`); steps of few rows are left out."""
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2)
    ends: list[float] = []
    for at, (name, table) in enumerate(tables.items()):
        kept, colour = table[table["n"] >= least], PALETTE[at % len(PALETTE)]
        label = title(MODEL if name == PREDICTION else name)
        left.plot(kept[PREDICTION], kept[RATING], color=colour, marker="o", markersize=4, label=label)
        right.plot(table[PREDICTION], table["n"] / table["n"].sum(), color=colour, linewidth=2, label=label)
        ends += [*kept[PREDICTION], *kept[RATING]]
    if ends:
        left.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linestyle=":", linewidth=1)
    dress(left, "Mean rating by prediction", "prediction", "mean rating")
    dress(right, "Predictions made", "prediction", "share of test rows")
    right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    left.legend(frameon=False)
    return figure


def film_map(mapped: pd.DataFrame, shown: list[str], named: int = 14) -> Figure:
    """Films along the first two axes, coloured by genre; a table as `embedding.film_map`.

    Parameters
    ----------
    shown : genres that get a colour; a film of several has that of its rarest, films of others are grey
    named : how many of the most rated films have their title beside them, where there is room for it
    """
    figure = new_figure(10.0, 8.0)
    axes = figure.subplots()
    colour_of = dict(zip(shown, PALETTE, strict=False))
    leading = leading_genre(mapped[GENRES], list(colour_of))
    sizes = 6 + 54 * np.sqrt(mapped["ratings"] / mapped["ratings"].max())
    for name in ("other", *colour_of):
        at = leading == name
        axes.scatter(
            mapped.loc[at, "axis 1"],
            mapped.loc[at, "axis 2"],
            s=sizes[at],
            color=colour_of.get(name, "#d5d9de"),
            alpha=0.75 if name != "other" else 0.5,
            linewidths=0,
            label=f"{name} ({at.sum():,})",
        )
    for _, film in _apart(mapped, named).iterrows():
        _name(axes, film)
    dress(axes, "Films along the two widest axes (size: ratings)", "axis 1", "axis 2")
    axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
    axes.legend(frameon=False, fontsize=9.5, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=4, markerscale=1.5)
    return figure


def feature_heat_map(directions: pd.DataFrame) -> Figure:
    """Where genres and years point, a panel for each group; a table as `embedding.feature_directions`.

    Factors have one scale, the biases (in rating units) another.
    """
    columns = [c for c in directions.columns if c not in ("group", "name")]
    groups = list(dict.fromkeys(directions["group"]))
    tallest = max((directions["group"] == group).sum() for group in groups)
    figure = new_figure(5.2 * len(groups), 1.6 + 0.26 * tallest)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    scaled = directions[columns].astype(float)
    ends = {c: np.abs(scaled[columns[:-1] if c != columns[-1] else [c]].to_numpy()).max() or 1.0 for c in columns}
    for axes, group in zip(panels, groups, strict=True):
        at = (directions["group"] == group).to_numpy()
        own = scaled[at]
        if group != "year":
            order = np.argsort(own["axis 1"].to_numpy()) if "axis 1" in own else np.arange(len(own))
        else:
            order = np.arange(len(own))
        values = own.to_numpy()[order]
        shown = axes.imshow(values / [ends[c] for c in columns], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value) / ends[columns[column]] > 0.6
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if dark else INK)
        axes.set_yticks(range(len(values)), directions.loc[at, "name"].to_numpy()[order])
        axes.set_xticks(range(len(columns)), columns)
        dress(axes, group, None, "")
        axes.grid(False)
    bar = figure.colorbar(shown, ax=panels[-1], ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["lowest", "0", "highest"])
    return figure


def biases(mapped: pd.DataFrame) -> Figure:
    """Biases of films against their number of ratings and their year, with the mean of films that are alike in it."""
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    logs = np.round(2 * np.log2(mapped["ratings"].clip(lower=1))) / 2
    decades = 5 * np.floor(mapped[YEAR].astype(float) / 5) + 2
    for axes, x, by, label in (
        (left, mapped["ratings"], 2.0**logs, "training ratings of the film"),
        (right, mapped[YEAR].astype(float), decades, "year of the film"),
    ):
        axes.scatter(x, mapped["bias"], s=9, color=DATA_COLOUR, alpha=0.45, linewidths=0)
        means = mapped.groupby(by)["bias"].agg(["mean", "count"])
        means = means[means["count"] >= 3]
        axes.plot(means.index, means["mean"], color=MODEL_COLOUR, linewidth=2.2, marker="o", markersize=4, label="mean")
        axes.axhline(0, color=ACCENT, linewidth=1, linestyle=":")
        dress(axes, None, label, "bias (rating units)" if axes is left else "")
    left.set_xscale("log")
    left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_title("Biases of films", loc="left", fontsize=13, fontweight="bold", color=INK, pad=10)
    left.legend(frameon=False)
    return figure


def _apart(mapped: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n most rated films whose titles do not meet, of 4 n: a title is about 0.18 wide and 0.03 high."""
    places = mapped[["axis 1", "axis 2"]].to_numpy()
    scaled = (places - places.min(0)) / np.maximum(np.ptp(places, axis=0), 1e-12)
    kept: list[int] = []
    for at in range(min(4 * n, len(mapped))):
        if len(kept) < n and all((np.abs(scaled[at] - scaled[other]) > (0.18, 0.03)).any() for other in kept):
            kept.append(at)
    return mapped.iloc[kept]


def _name(axes: Axes, film: pd.Series) -> None:
    """A film's title beside its place, shortened, without the year."""
    text = str(film[TITLE]).rsplit(" (", 1)[0]
    short = text if len(text) <= 26 else text[:25] + "…"
    axes.annotate(
        short,
        (film["axis 1"], film["axis 2"]),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
