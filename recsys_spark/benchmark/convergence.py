"""J and validation RMSE against iterations, with items taken to their solutions and beyond them. Driver."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.benchmark.ours import Ours


@dataclass(frozen=True)
class Curve:
    """A fit without early stopping.

    Attributes
    ----------
    relaxation : its `AlsSettings.relaxation`
    objective, validation_rmse : after each iteration
    seconds : the median of the iterations after the first, which may compile
    """

    relaxation: float
    objective: tuple[float, ...]
    validation_rmse: tuple[float, ...]
    seconds: float

    def reaches(self, objective: float) -> int | None:
        """The first iteration after which J is as low; None where none is."""
        return next((n for n, found in enumerate(self.objective, 1) if found <= objective), None)


def curve(ours: Ours, ratings: DataFrame, relaxation: float, iterations: int) -> Curve:
    """A fit of the contender's settings, but for that relaxation."""
    history = ours.relaxed(relaxation).fit(ratings, iterations).trained.history
    names = ("objective", "validation_rmse", "seconds")
    objective, validation, seconds = (history[name].to_pylist() for name in names)
    return Curve(relaxation, tuple(objective), tuple(validation), statistics.median(seconds[1:]))
