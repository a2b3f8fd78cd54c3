"""Early stopping on the validation RMSE. Driver."""

from __future__ import annotations

import math

from recsys_spark.als.history import Iteration
from recsys_spark.als.settings import StopSettings


class Patience:
    """Counts iterations since the validation RMSE last fell by the tolerance."""

    def __init__(self, stop: StopSettings) -> None:
        self.stop, self.since, self.score = stop, 0, math.inf

    def exhausted(self, record: Iteration) -> bool:
        """Whether to stop after this iteration."""
        if record.validation_rmse < self.score * (1.0 - self.stop.tol):
            self.since, self.score = record.iteration, record.validation_rmse
        return record.iteration >= self.stop.min_iter and record.iteration - self.since >= self.stop.patience
