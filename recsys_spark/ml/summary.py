"""What a fit has to tell of itself, as the models of pyspark.ml tell it. Driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.als.model import FittedModel
    from recsys_spark.als.spread import SpreadModel


class BlockALSTrainingSummary:
    """The course of a fit: ``model.summary``.

    Attributes
    ----------
    totalIterations : int
        Iterations done.
    bestIteration : int
        The one whose rows the model holds: the last, or with validation ratings the best.
    stopReason : str
        A sentence.
    seconds : float
        Wall-clock time of all iterations together, without the building of blocks.
    objectiveHistory, trainRmseHistory, validationRmseHistory : lists of float
        One number an iteration, J in the units of J; NaN where there are no validation ratings.
    """

    def __init__(self, fitted: FittedModel | SpreadModel) -> None:
        self._history = fitted.history
        self.totalIterations = len(fitted.history)
        self.bestIteration = fitted.best_iteration
        self.stopReason = fitted.stop_reason
        self.objectiveHistory: list[float] = fitted.history["objective"].to_pylist()
        self.trainRmseHistory: list[float] = fitted.history["train_rmse"].to_pylist()
        self.validationRmseHistory: list[float] = fitted.history["validation_rmse"].to_pylist()
        self.seconds: float = sum(fitted.history["seconds"].to_pylist())

    @property
    def iterations(self) -> DataFrame:
        """One row per iteration: J by term, RMSEs, seconds by phase, bytes moved."""
        from pyspark.sql import SparkSession

        return SparkSession.builder.getOrCreate().createDataFrame(self._history)

    def __repr__(self) -> str:
        return (
            f"BlockALSTrainingSummary(totalIterations={self.totalIterations}, bestIteration={self.bestIteration}, "
            f"stopReason={self.stopReason!r}, seconds={self.seconds:.2f})"
        )
