"""The record of a benchmark as tables for people: on the terminal and in Markdown. No Spark here."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from recsys_spark.benchmark.convergence import reached
from recsys_spark.benchmark.kernels import KernelSpeed
from recsys_spark.benchmark.notes import notes
from recsys_spark.benchmark.results import TO_TARGET
from recsys_spark.benchmark.spec import PHASES, TOP_N
from recsys_spark.pages import markdown_table

WIDTH = 150
Record = Mapping[str, Any]
_GIB, _MB = 2.0**30, 1e6


@dataclass(frozen=True)
class Figure:
    """How a figure is told.

    Attributes
    ----------
    heading : of a column
    meaning : of a row, unit included
    unit : what its values are divided by
    digits : after the point
    """

    heading: str
    meaning: str
    unit: float = 1.0
    digits: int = 2

    def show(self, value: float | None) -> str:
        """A value as text."""
        return "–" if value is None else f"{value / self.unit:,.{self.digits}f}"


FIGURES = {
    "build": Figure("build", "build from Parquet, first in the process, s"),
    "build_warm": Figure("again", "build again, s"),
    "build_derived": Figure("derived", "build from a derived DataFrame, s"),
    "first_iteration": Figure("first it.", "first iteration, compiled before, s"),
    "compile_cold": Figure("compiling", "compiling, in the first iteration on a new host, s"),
    "iteration": Figure("iteration", "iteration, s"),
    "fit": Figure("whole fit", "whole fit, reading and building included, s"),
    TO_TARGET: Figure("to target", "to pyspark.ml.ALS's best validation RMSE, s"),
    "test_rmse": Figure("RMSE", "test RMSE", digits=4),
    "test_mae": Figure("MAE", "test MAE", digits=4),
    "memory": Figure("PSS, GiB", "peak Σ PSS, GiB", _GIB),
    "heap": Figure("heap, GiB", "smallest heap, GiB", _GIB),
    "shuffled": Figure("shuffled, MB", "bytes shuffled in a whole fit, MB", _MB, 1),
    "moved": Figure("broadcast, MB", "bytes exchanged by broadcast in a whole fit, MB", _MB, 1),
    "transform": Figure("transform", "predict the test rows, s"),
    "top_n": Figure(f"top {TOP_N}", f"top {TOP_N} of every user, s"),
    "save": Figure("save", "save, s"),
    "load": Figure("load", "load, s"),
}
_FITTING = (
    "build",
    "build_warm",
    "build_derived",
    "first_iteration",
    "iteration",
    "fit",
    TO_TARGET,
    "test_rmse",
    "test_mae",
)
_USING = ("memory", "heap", "shuffled", "moved", "transform", "top_n", "save", "load", "compile_cold")


def summary(record: Record) -> str:
    """Tables for the terminal."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH)
    if record["contenders"]:
        console.print(_opening(record) + "\n", highlight=False, soft_wrap=True)
        if record["trials"]:
            console.print(_trials(record))
        for title, names in (("Fitting: seconds and errors", _FITTING), ("Using: memory, bytes and seconds", _USING)):
            head, rows = contender_rows(record, names)
            if len(head) > 2:  # any figure at all
                console.print(_table(title, head, rows))
        if record["ratios"]:
            console.print(_table(_ratio_title(record), *ratio_rows(record)))
        console.print("\n".join(f"- {note}" for note in _notes(record)), highlight=False, soft_wrap=True)
    if record["scaling"]:
        console.print(_table("Seconds of an iteration", *scaling_rows(record)))
    if record["convergence"]:
        console.print(_table("J by iteration, without relaxation and with it", *convergence_rows(record)))
    if record.get("weak"):
        console.print(_table("Weak scaling: an iteration on one-core executors", *weak_rows(record)))
    return out.getvalue()


def markdown(record: Record, about: Mapping[str, str]) -> str:
    """The tables, what ran, and what is unfair, for a page.

    Parameters
    ----------
    about : what ran, by name: data set, commit, machine, date
    """
    names = [n for n in (*_FITTING, *_USING) if any(n in c["figures"] for c in record["contenders"].values())]
    parts = [*_heading(record, about), *markdown_table(*contender_rows(record, names, across=False))]
    if record["ratios"]:
        parts += ["", f"{_ratio_title(record)}:", "", *markdown_table(*ratio_rows(record))]
    if record["scaling"]:
        parts += ["", "Seconds of an iteration:", "", *markdown_table(*scaling_rows(record))]
    if record["convergence"]:
        parts += ["", "J by iteration:", "", *markdown_table(*convergence_rows(record))]
    if record.get("weak"):
        parts += ["", "An iteration on one-core executors:", "", *markdown_table(*weak_rows(record))]
    parts += ["", "What is unfair:", "", *(f"- {note}" for note in _notes(record))]
    return "\n".join(parts) + "\n"


def claims(record: Record, about: Mapping[str, str]) -> str:
    """What the benchmark claims, for a first page: both that are compared, and how many times one takes the other."""
    ours, baseline = record["terms"]["ours"], record["terms"]["baseline"]
    head = ["", ours, baseline, f"{baseline} takes", "least", "most", "repeats"]
    rows = [
        [
            FIGURES[name].meaning,
            *(_claimed(record, name, who) for who in (ours, baseline)),
            *(f"{ratio[key]:.2f} ×" for key in ("median", "min", "max")),
            str(len(ratio["values"])),
        ]
        for name, ratio in record["ratios"].items()
    ]
    return "\n".join([*_heading(record, about), *markdown_table(head, rows)]) + "\n"


def _claimed(record: Record, figure: str, who: str) -> str:
    """A contender's figure; where it does not reach the target, that of the one who set it, by name."""
    value = _values(record["contenders"][who]).get(figure)
    if value is None and figure == TO_TARGET:
        setter = record["target"]["contender"]
        return f"{FIGURES[figure].show(_values(record['contenders'][setter]).get(figure))} ({setter})"
    return FIGURES[figure].show(value)


def contender_rows(record: Record, names: Sequence[str], *, across: bool = True) -> tuple[list[str], list[list[str]]]:
    """Heading and rows, a contender a row, or a figure a row where not `across`; published figures come last."""
    told = {name: _values(contender) for name, contender in record["contenders"].items()}
    told |= {name: dict(reference) for name, reference in record["published"].items()}
    shown = [name for name in names if any(values.get(name) is not None for values in told.values())]
    if across:
        head = ["", "λ·n", *(FIGURES[name].heading for name in shown)]
        return head, [
            [name, _reg(record, name), *(FIGURES[figure].show(values.get(figure)) for figure in shown)]
            for name, values in told.items()
        ]
    head = ["", *(f"{name}{_reg(record, name, ', λ ')}" for name in told)]
    return head, [
        [FIGURES[name].meaning, *(FIGURES[name].show(values.get(name)) for values in told.values())] for name in shown
    ]


def ratio_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: a figure's ratio, its least and greatest, over so many repeats."""
    rows = [
        [FIGURES[name].meaning, *(f"{ratio[key]:.2f}" for key in ("median", "min", "max")), str(len(ratio["values"]))]
        for name, ratio in record["ratios"].items()
    ]
    return ["", "median", "min", "max", "repeats"], rows


def scaling_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: a point a row, a contender a column; were it linear, ns a rating would not change."""
    points: dict[tuple[str, float], dict[str, float | None]] = {}
    ratings: dict[tuple[str, float], int] = {}
    names = list(dict.fromkeys(point["contender"] for point in record["scaling"]))
    for point in record["scaling"]:
        key = (point["axis"], point["at"])
        points.setdefault(key, {})[point["contender"]] = point["seconds"]
        ratings[key] = point["ratings"]
    head = ["", *names, *(f"{name}, ns a rating" for name in names)]
    rows = []
    for (axis, at), seconds in points.items():
        found = [seconds.get(name) for name in names]
        each = ["–" if s is None else f"{1e9 * s / max(ratings[axis, at], 1):,.0f}" for s in found]
        rows.append([f"{axis} {at:,.0f}", *("–" if s is None else f"{s:.3f}" for s in found), *each])
    return head, rows


def convergence_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: how many iterations a relaxed fit takes to J of one without relaxation."""
    plain, relaxed = record["convergence"]
    head = ["iteration", "J", "relaxed", "reached after", "validation RMSE", "relaxed"]
    rows = []
    for n, at in reached(plain, relaxed).items():
        values = [f"{fit['objective'][n - 1]:,.1f}" for fit in (plain, relaxed)]
        errors = [fit["validation"][n - 1] for fit in (plain, relaxed)]
        told = ["–" if error is None else f"{error:.5f}" for error in errors]
        rows.append([str(n), *values, "not" if at is None else str(at), *told])
    seconds = [f"{fit['iteration']:.3f} s" for fit in (plain, relaxed)]
    return head, [*rows, ["each", *seconds, "", "", ""]]


def weak_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: seconds of an iteration by phase, and the bytes of rows that it moved."""
    phases = [f"{phase}, s" for phase in PHASES]
    head = ["executors", "exchange", "ratings", "iteration, s", *phases, "moved, MB", "build, s"]
    rows = [
        [
            str(point["executors"]),
            point["exchange_by"],
            f"{point['ratings']:,}",
            *("–" if point[name] is None else f"{point[name]:.3f}" for name in ("seconds", *PHASES)),
            f"{point['moved'] / _MB:,.1f}",
            f"{point['build']:.3f}" if "build" in point else "–",  # records of earlier releases have none
        ]
        for point in record["weak"]
    ]
    return head, rows


def kernel_metrics(speeds: Sequence[KernelSpeed]) -> dict[str, float]:
    """Numbers by dotted name."""
    out: dict[str, float] = {}
    for speed in speeds:
        key = f"kernels.rank_{speed.rank}"
        out |= {f"{key}.gflops": speed.gflops, f"{key}.sgemm": speed.sgemm, f"{key}.share": speed.share}
    return out


def kernel_summary(speeds: Sequence[KernelSpeed]) -> str:
    """A table for people."""
    rows = [
        [str(s.rank), f"{s.ratings:,}", f"{s.seconds:.3f}", f"{s.gflops:.1f}", f"{s.sgemm:.1f}", f"{s.share:.1%}"]
        for s in speeds
    ]
    head = ["rank", "ratings", "seconds", "useful GF/s", "sgemm GF/s", "share"]
    out = io.StringIO()
    Console(file=out, width=WIDTH).print(_table("half_sweep beside sgemm, one thread", head, rows))
    return out.getvalue()


def _heading(record: Record, about: Mapping[str, str]) -> list[str]:
    """What a page's tables stand under."""
    return [_opening(record), "", "; ".join(f"{name} {value}" for name, value in about.items()) + ".", ""]


def _opening(record: Record) -> str:
    terms, rows = record["terms"], record.get("rows", {})
    spark = ""
    if terms["choice"]:
        cached = "cached" if terms["choice"]["cache"] else "not cached"
        blas = f", {terms['blas']}" if terms["blas"] else ""
        spark = f" pyspark.ml.ALS: {terms['choice']['blocks']} blocks, ratings {cached}{blas}."
    oracle = "" if record["oracle_rmse"] is None else f" Oracle RMSE {record['oracle_rmse']:.4f}."
    target = record["target"]
    aim = ""
    if target is not None:
        aim = (
            f" Target: validation RMSE {target['rmse']:.4f}, that of {target['contender']} after "
            f"{target['iterations']} iterations."
        )
    return (
        f"{rows.get('train', 0):,} training ratings, rank {terms['rank']}, {_counted(terms['max_iter'], 'iteration')}, "
        f"{_counted(terms['cores'], 'core')}, {terms['driver_memory']} of heap each.{spark}{aim}{oracle}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _notes(record: Record) -> list[str]:
    published = [f"{name}: {found['note']}" for name, found in record["published"].items() if found["note"]]
    return [*notes(record["contenders"]), *published]


def _values(contender: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: spread["median"] for name, spread in contender["figures"].items()}


def _reg(record: Record, name: str, before: str = "") -> str:
    reg = record["contenders"].get(name, {}).get("reg")
    return "" if reg is None else f"{before}{reg:g}"


def _ratio_title(record: Record) -> str:
    terms = record["terms"]
    return f"How many times as much {terms['baseline']} takes as {terms['ours']}"


def _trials(record: Record) -> Table:
    rows = [
        [
            str(trial["choice"]["blocks"]),
            "cached" if trial["choice"]["cache"] else "not cached",
            "" if trial["reg"] is None else f"{trial['reg']:g}",
            *(f"{trial[name]:.2f}" for name in ("build", "fit")),
            "best" if trial["choice"] == record["terms"]["choice"] else "",
        ]
        for trial in record["trials"]
    ]
    head = ["blocks", "ratings", "λ", "build, s", "whole fit, s", ""]
    return _table("pyspark.ml.ALS, tried once each", head, rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for at, heading in enumerate(head):
        table.add_column(heading, justify="right" if at else "left")
    for row in rows:
        table.add_row(*row)
    return table
