"""Metrics of rating predictions, on NumPy arrays; also what their Spark twin (``aggregate``) is checked against.

RMSE and MAE: Herlocker, Konstan, Terveen and Riedl, "Evaluating collaborative filtering recommender systems", ACM TOIS
22(1), 2004, section 4.1. Accuracy over the rating classes is a classifier's, taking each prediction as the class that
is nearest: the share of rows where that is the rating's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RatingSums:
    """Sums over rows from which all metrics follow; sums of disjoint sets of rows add up.

    Attributes
    ----------
    n : rows that have a prediction
    missing : rows whose prediction is null or NaN, which no other sum counts
    squared, absolute : Σ (r − r̂)² and Σ |r − r̂|, in rating units squared and rating units
    hits : rows where r̂'s nearest class is r's
    """

    n: int = 0
    missing: int = 0
    squared: float = 0.0
    absolute: float = 0.0
    hits: int = 0

    @classmethod
    def of(cls, actual: Floats, predicted: Floats, classes: Floats) -> RatingSums:
        """Sums of arrays of one shape (n,)."""
        known = ~np.isnan(predicted)
        r, p = actual[known].astype(np.float64), predicted[known].astype(np.float64)
        same = nearest_class(r, classes) == nearest_class(p, classes)
        return cls(
            n=len(r),
            missing=len(actual) - len(r),
            squared=math.fsum((r - p) ** 2),
            absolute=math.fsum(np.abs(r - p)),
            hits=int(same.sum()),
        )

    def __add__(self, other: RatingSums) -> RatingSums:
        return RatingSums(
            self.n + other.n,
            self.missing + other.missing,
            self.squared + other.squared,
            self.absolute + other.absolute,
            self.hits + other.hits,
        )

    @property
    def rmse(self) -> float:
        """√(Σ (r − r̂)² / n), in rating units; NaN without rows."""
        return math.sqrt(self.squared / self.n) if self.n else math.nan

    @property
    def mae(self) -> float:
        """Σ |r − r̂| / n, in rating units; NaN without rows."""
        return self.absolute / self.n if self.n else math.nan

    @property
    def accuracy(self) -> float:
        """Share of rows whose class is right, 0 to 1; NaN without rows."""
        return self.hits / self.n if self.n else math.nan


def total(parts: Iterable[RatingSums]) -> RatingSums:
    """Sums of the union of disjoint sets of rows."""
    return sum(parts, RatingSums())


def rmse(actual: Floats, predicted: Floats) -> float:
    """Root mean squared error of arrays of one shape (n,), in rating units; NaN if n is 0 or a value is NaN."""
    difference = np.asarray(actual, np.float64) - np.asarray(predicted, np.float64)
    return math.sqrt(np.mean(difference**2)) if difference.size else math.nan


def rating_classes(low: float, high: float, step: float) -> Floats:
    """The values that a rating may take: low, low + step, … high; float64, ascending.

    >>> rating_classes(0.5, 2.0, 0.5)
    array([0.5, 1. , 1.5, 2. ])
    """
    return low + step * np.arange(round((high - low) / step) + 1)


def class_bounds(classes: Floats) -> Floats:
    """Where one class ends and the next begins: half-way, and what lies exactly there belongs to the upper one."""
    return (classes[1:] + classes[:-1]) / 2


def nearest_class(values: Floats, classes: Floats) -> npt.NDArray[np.int64]:
    """Index of the nearest class, ties upwards; values off the scale fall into the first or last class, as if clipped.

    >>> nearest_class(np.array([-3.0, 0.74, 0.75, 9.0]), rating_classes(0.5, 2.0, 0.5))
    array([0, 0, 1, 3])
    """
    return np.searchsorted(class_bounds(classes), values, side="right").astype(np.int64)


def bin_labels(bounds: Sequence[int]) -> list[str]:
    """Names of the popularity bins that begin at `bounds`.

    >>> bin_labels([0, 1, 3, 6, 16])
    ['0', '1–2', '3–5', '6–15', '16+']
    """
    ends = [*(bound - 1 for bound in bounds[1:]), None]
    return [
        f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}"
        for low, high in zip(bounds, ends, strict=True)
    ]


def bin_of(counts: npt.NDArray[np.integer[Any]], bounds: Sequence[int]) -> npt.NDArray[np.int64]:
    """Index of the bin that each count ≥ bounds[0] lies in."""
    return np.searchsorted(np.asarray(bounds), counts, side="right").astype(np.int64) - 1


def sums_by_bin(
    actual: Floats, predicted: Floats, counts: npt.NDArray[np.integer[Any]], classes: Floats, bounds: Sequence[int]
) -> list[RatingSums]:
    """Sums of each popularity bin; `counts` (n,): training ratings of each row's item."""
    where = bin_of(counts, bounds)
    return [RatingSums.of(actual[where == b], predicted[where == b], classes) for b in range(len(bounds))]
