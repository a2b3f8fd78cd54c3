"""Figures of a benchmark's record; driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from recsys_spark.benchmark.scaling import AXES, CORES, RATINGS
from recsys_spark.evaluate.figures import INK, PALETTE, dress, new_figure

_DASHED = "; dashed: linear"
_MARKERS = "osD^vP*Xhd<>"


def drawn(record: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures that the record has something for, by name."""
    out = {}
    if any(contender["curve"] for contender in record["contenders"].values()):
        out["curves"] = curves(record)
    if record["scaling"]:
        out["scaling"] = scaling(record)
    return out


def curves(record: Mapping[str, Any]) -> Figure:
    """Validation RMSE against seconds, reading and building included, of every contender that predicts ratings.

    Where a contender keeps no history, every point is a fit of its own.
    """
    figure = new_figure(10.5, 5.2)
    axes = figure.subplots()
    shown = {name: contender for name, contender in record["contenders"].items() if contender["curve"]}
    for at, (name, contender) in enumerate(shown.items()):
        _, seconds, rmse = zip(*contender["curve"], strict=True)
        # A line joins points of one fit; fits of their own are joined by dots.
        style = "-" if contender["kind"] == "blockals" else ":"
        label = name if contender["reg"] is None else f"{name}, λ {contender['reg']:g}"
        axes.plot(
            seconds, rmse, style, color=_colour(at), marker=_MARKERS[at % len(_MARKERS)], markersize=5, label=label
        )
    target = record["target"]
    if target is not None:
        axes.axhline(target["rmse"], color=INK, linewidth=0.8, linestyle="--", label="pyspark.ml.ALS's best")
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    _zoom(axes, [[point[2] for point in contender["curve"]] for contender in shown.values()])
    dress(axes, "Validation RMSE against seconds", "seconds, reading and building included", "RMSE (rating units)")
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure


def scaling(record: Mapping[str, Any]) -> Figure:
    """Seconds of an iteration against ratings, rank and cores; dashed: what would be linear, from the last point."""
    figure = new_figure(12, 4.2)
    points = record["scaling"]
    names = list(dict.fromkeys(point["contender"] for point in points))
    for axes, axis in zip(figure.subplots(1, len(AXES)), AXES, strict=True):
        for at, name in enumerate(names):
            told = sorted(
                (point["at"], point["seconds"])
                for point in points
                if point["contender"] == name and point["axis"] == axis and point["seconds"] is not None
            )
            if not told:
                continue
            x, y = zip(*told, strict=True)
            axes.plot(x, y, color=_colour(at), marker=_MARKERS[at], markersize=5, label=name)
            power = -1 if axis == CORES else 1
            anchor = 0 if axis == CORES else -1
            line = [y[anchor] * (value / x[anchor]) ** power for value in x]
            axes.plot(x, line, color=_colour(at), linewidth=0.8, linestyle="--", alpha=0.6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
        if axis != RATINGS:
            ticks = sorted({point["at"] for point in points if point["axis"] == axis})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        first = axis == RATINGS
        dress(axes, f"By {axis}{_DASHED * first}", axis, "seconds of an iteration" if first else "")
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


def _zoom(axes: Axes, curves: list[list[float]]) -> None:
    """Show where curves end up: what lies far above, as first iterations may, is cut off."""
    ends = [min(curve) for curve in curves]
    low, high = min(ends), max(ends)
    top = min(high + max(high - low, 0.02) * 0.8, max(value for curve in curves for value in curve) * 1.005)
    axes.set_ylim(low - 0.05 * (top - low), top)


def _plain_numbers(axis: Axis) -> None:
    """1, 2, 5, 10 … on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(_brief))
    axis.set_minor_formatter(NullFormatter())


def _brief(value: float, _: int) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"


def _colour(at: int) -> str:
    return PALETTE[at % len(PALETTE)]
