"""The convergence record of a fit: one row per iteration."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from recsys_spark.als.model import HISTORY_SCHEMA


@dataclass(frozen=True)
class Terms:
    """J by term, in the units of J (sums over training ratings and rows)."""

    sse: float
    reg_user: float
    reg_item: float
    reg_user_bias: float
    reg_item_bias: float
    reg_projection: float
    unobserved: float = 0.0
    graph_user: float = 0.0
    graph_item: float = 0.0

    @property
    def objective(self) -> float:
        """J."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Phases:
    """Where an iteration's seconds went, and the bytes that moved (`als.meter`)."""

    compute: float
    exchange: float
    driver: float
    seconds: float
    bytes_moved: int

    @property
    def spark(self) -> float:
        """The rest: scheduling tasks, moving results."""
        return max(self.seconds - self.compute - self.exchange - self.driver, 0.0)


@dataclass(frozen=True)
class Iteration:
    """One iteration's record; RMSEs in rating units, NaN where there is no validation rating."""

    iteration: int
    seconds: float
    train_rmse: float
    validation_rmse: float
    terms: Terms
    phases: Phases

    def line(self, max_iter: int) -> str:
        """A progress line."""
        validation = "" if math.isnan(self.validation_rmse) else f"  validation {self.validation_rmse:.4f}"
        return (
            f"iteration {self.iteration:>{len(str(max_iter))}}/{max_iter}  J {self.terms.objective:,.1f}  "
            f"train {self.train_rmse:.4f}{validation}  {self.seconds:.2f} s ({self.phases.compute:.2f} computing)"
        )


def table(iterations: list[Iteration]) -> pa.Table:
    """The record as an Arrow table with `HISTORY_SCHEMA`."""
    rows = [
        {
            "iteration": i.iteration,
            "seconds": i.seconds,
            "objective": i.terms.objective,
            "train_rmse": i.train_rmse,
            "validation_rmse": i.validation_rmse,
            **asdict(i.terms),
            "seconds_compute": i.phases.compute,
            "seconds_exchange": i.phases.exchange,
            "seconds_driver": i.phases.driver,
            "seconds_spark": i.phases.spark,
            "bytes_moved": float(i.phases.bytes_moved),
        }
        for i in iterations
    ]
    return pa.Table.from_pylist(rows, schema=HISTORY_SCHEMA)


def iterations(record: pa.Table) -> list[Iteration]:
    """The inverse of `table`."""
    names = [f.name for f in fields(Terms)]
    return [
        Iteration(
            row["iteration"],
            row["seconds"],
            row["train_rmse"],
            row["validation_rmse"],
            Terms(**{name: row[name] for name in names}),
            Phases(
                row["seconds_compute"],
                row["seconds_exchange"],
                row["seconds_driver"],
                row["seconds"],
                int(row["bytes_moved"]),
            ),
        )
        for row in record.to_pylist()
    ]
