"""Figures of the ratings themselves; driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from recsys_spark.evaluate.figures import ACCENT, DATA_COLOUR, INK, MODEL_COLOUR, dress, new_figure

_THOUSANDS = FuncFormatter(lambda y, _: f"{y:,.0f}")


def rating_counts(ratings: Sequence[float], counts: Sequence[int]) -> Figure:
    """How many ratings there are of each value, and their mean."""
    figure = new_figure(7.5, 3.8)
    axes = figure.subplots()
    values, heights = np.asarray(ratings, float), np.asarray(counts, float)
    width = 0.8 * (np.diff(np.sort(values)).min() if len(values) > 1 else 1.0)
    bars = axes.bar(values, heights / heights.sum(), width=width, color=DATA_COLOUR)
    axes.bar_label(bars, [f"{100 * h / heights.sum():.0f} %" for h in heights], padding=2, fontsize=9, color=INK)
    mean = float(values @ heights / heights.sum())
    axes.axvline(mean, color=ACCENT, linestyle="--", linewidth=1.2, zorder=0, label=f"mean {mean:.2f}")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    dress(axes, f"Ratings by value ({heights.sum():,.0f})", "rating", "share of the ratings")
    axes.legend(frameon=False, loc="upper left")
    return figure


def tails(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """For each kind of id, how many have n ratings or more, both axes logarithmic; tables as `tables.tail` makes."""
    figure = new_figure(9.5, 3.9)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        axes.step(table["n"], table["ids"], where="pre", color=MODEL_COLOUR, linewidth=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for scale in (axes.xaxis, axes.yaxis):
            scale.set_major_formatter(_THOUSANDS)
            scale.set_minor_formatter(NullFormatter())
        dress(axes, name.capitalize(), "n ratings", f"{name} with n ratings or more")
    return figure


def density_grid(grid: np.ndarray) -> Figure:
    """Share of rated pairs by group of users and of films, as `tables.density` makes it; white: none is rated."""
    figure = new_figure(7.0, 5.4)
    axes = figure.subplots()
    held = np.ma.masked_less_equal(grid, 0)
    shown = axes.imshow(
        held, cmap="viridis", norm=LogNorm(), aspect="auto", interpolation="nearest", extent=(0, 100, 100, 0)
    )
    for scale in (axes.xaxis, axes.yaxis):
        scale.set_major_formatter(PercentFormatter(100, decimals=0))
    bar = figure.colorbar(shown, ax=axes, label="share of pairs with a rating")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    dress(axes, "Where the ratings are", "films, the most rated first", "users, the busiest first")
    axes.grid(False)
    return figure


def growth(table: pd.DataFrame) -> Figure:
    """Ratings by month above, all users so far below; a table as `tables.growth` makes."""
    figure = new_figure(9.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.bar(table["month"], table["ratings"], width=26, color=DATA_COLOUR)
    lower.plot(table["month"], table["new_users"].cumsum(), color=MODEL_COLOUR, linewidth=2, label="who have rated")
    lower.plot(table["month"], table["users"], color=ACCENT, linewidth=1.2, label="active in the month")
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(_THOUSANDS)
    dress(upper, "Ratings by month", None, "ratings")
    dress(lower, "Users", "month (UTC)", "users")
    lower.legend(frameon=False, loc="upper left")
    return figure


def genres(table: pd.DataFrame) -> Figure:
    """Films, ratings and mean rating of each genre: (genre, films, ratings, mean)."""
    ordered = table.sort_values("ratings")
    figure = new_figure(9.5, 1.2 + 0.26 * len(ordered))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, column, colour in zip(
        panels, ("films", "ratings", "mean"), (DATA_COLOUR, DATA_COLOUR, MODEL_COLOUR), strict=True
    ):
        if column == "mean":
            axes.scatter(ordered["mean"], range(len(ordered)), color=colour, s=28, zorder=3)
        else:
            axes.barh(range(len(ordered)), ordered[column], color=colour, height=0.7)
            axes.xaxis.set_major_formatter(_THOUSANDS)
            axes.tick_params(axis="x", rotation=30)
        dress(axes, column.capitalize() if column != "mean" else "Mean rating", None, "")
        axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
    panels[0].set_yticks(range(len(ordered)), ordered["genre"])
    return figure


def years(table: pd.DataFrame) -> Figure:
    """Films and ratings by the films' year, and the ratings' mean: (year, films, ratings, mean)."""
    figure = new_figure(9.0, 6.4)
    panels: list[Axes] = list(figure.subplots(3, 1, sharex=True))
    for axes, column in zip(panels, ("films", "ratings"), strict=False):
        axes.bar(table["year"], table[column], width=0.9, color=DATA_COLOUR)
        axes.yaxis.set_major_formatter(_THOUSANDS)
        dress(axes, f"{column.capitalize()} by year of the film", None, column)
    sizes = 4 + 60 * np.sqrt(table["ratings"] / table["ratings"].max())
    panels[2].scatter(table["year"], table["mean"], s=sizes, color=MODEL_COLOUR, alpha=0.7, linewidths=0)
    dress(panels[2], "Mean rating (area: number of ratings)", "year of the film", "mean rating")
    return figure
