"""What a variant made of one fold's test ratings, in the sums that all comparisons need; no Spark here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_spark.evaluate.rating import Floats, RatingSums, sums_by_bin, total
from recsys_spark.schema import RATING, USER
from recsys_spark.tuning.fitting import Judged


@dataclass(frozen=True, eq=False)
class Outcome:
    """One variant on one fold.

    Attributes
    ----------
    bins : sums of test ratings by popularity of the item
    train_rmse : in rating units, unclipped; NaN where the fit does not tell
    ndcg : mean NDCG@k over users with a relevant test rating
    seconds : of the fit
    users, squared, rows : ids of the users of test ratings, ascending; Σ (r − r̂)² and number of each one's
    curve : RMSE in training after each iteration
    """

    bins: tuple[RatingSums, ...]
    train_rmse: float
    ndcg: float
    seconds: float
    users: np.ndarray
    squared: np.ndarray
    rows: np.ndarray
    curve: tuple[float, ...]

    @property
    def whole(self) -> RatingSums:
        """Sums of all test ratings."""
        return total(self.bins)

    def metrics(self) -> dict[str, float]:
        """Numbers by name, rating units; NaN where no row counts."""
        whole = self.whole
        return {
            "rmse": whole.rmse,
            "train_rmse": self.train_rmse,
            "mae": whole.mae,
            "accuracy": whole.accuracy,
            "rmse_cold": self.bins[0].rmse,
            "ndcg": self.ndcg,
            "seconds": self.seconds,
        }


def outcome_of(judged: Judged, test: pa.Table, classes: Floats, bounds: Sequence[int]) -> Outcome:
    """The sums of a judged fit.

    Parameters
    ----------
    test : user, item, rating: the rows that were judged
    classes, bounds : as `evaluate.rating.sums_by_bin`
    """
    actual = test[RATING].to_numpy().astype(np.float64)
    users, where = np.unique(test[USER].to_numpy(), return_inverse=True)
    error = (actual - judged.predictions.astype(np.float64)) ** 2
    curve = tuple(judged.history["train_rmse"].to_pylist())
    return Outcome(
        bins=tuple(sums_by_bin(actual, judged.predictions, judged.popularity, classes, bounds)),
        train_rmse=curve[-1] if curve else math.nan,
        ndcg=float(judged.ndcg.mean()) if len(judged.ndcg) else math.nan,
        seconds=judged.seconds,
        users=users,
        squared=np.bincount(where, error, len(users)),
        rows=np.bincount(where, minlength=len(users)),
        curve=curve,
    )


def by_user(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, Σ (r − r̂)², rows) of every user over all folds, ids ascending."""
    ids, where = np.unique(np.concatenate([o.users for o in outcomes]), return_inverse=True)
    squared = np.bincount(where, np.concatenate([o.squared for o in outcomes]), len(ids))
    rows = np.bincount(where, np.concatenate([o.rows for o in outcomes]), len(ids))
    return ids, squared, rows.astype(np.int64)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over folds, the folds' RMSEs, and RMSE and rows of each popularity bin over all folds; None for NaN."""
    each = [o.metrics() for o in outcomes]
    found: dict[str, Any] = {name: _mean([m[name] for m in each]) for name in each[0]}
    bins = [total(parts) for parts in zip(*(o.bins for o in outcomes), strict=True)]
    found["rmse_folds"] = [m["rmse"] for m in each]
    found["bins"] = [{"rmse": _plain(part.rmse), "rows": part.n} for part in bins]
    found["curve"] = list(outcomes[0].curve)
    return {name: _plain(value) for name, value in found.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
