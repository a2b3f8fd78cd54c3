"""Rows of one side that are like given ones, by their factors: exact, blocked, ties to the lower row."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from recsys_spark.als.model import SideModel
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.kernels.catalogue import Catalogue, lengths_of
from recsys_spark.kernels.rows import F32, F64, I64
from recsys_spark.kernels.topk import SeenItems, search

Metric = Literal["cosine", "euclidean", "pearson"]


def check_metric(side: SideModel, metric: str) -> None:
    """Raise ConfigError where there is no such metric, DataError where the side has no factors to compare."""
    if metric not in get_args(Metric):
        raise ConfigError(f"no metric {metric!r}: {', '.join(get_args(Metric))}")
    if not side.rank:
        raise DataError("a model of rank 0 has biases alone: there are no factors to compare")


class Neighbours:
    """A side's factors, made ready for one metric.

    Parameters
    ----------
    side : SideModel
    metric : str
        ``cosine``: p·q / ‖p‖‖q‖; ``pearson``: the same of factors less their mean over the k columns; ``euclidean``:
        ‖p - q‖. A row whose norm is 0 is like nothing: similarity 0.

    Raises what `check_metric` raises.
    """

    def __init__(self, side: SideModel, metric: str) -> None:
        check_metric(side, metric)
        self.metric = metric
        wide = side.factors.astype(np.float64)
        if metric == "euclidean":
            self._factors, offsets = side.factors, (-0.5 * (wide * wide).sum(1)).astype(np.float32)
        else:
            self._factors = _unit(wide - wide.mean(1, keepdims=True) if metric == "pearson" else wide)
            offsets = np.zeros(len(side), np.float32)
        self._catalogue = Catalogue.of(self._factors, offsets, lengths_of(self._factors))

    def of(self, rows: I64, n: int) -> tuple[I64, F32]:
        """The n rows most like each of m rows, itself left out: (rows int64 (m, n), values float32 (m, n)).

        Values are similarities, or distances for ``euclidean``. Places that cannot be filled hold row -1 and NaN.
        """
        itself = SeenItems(np.arange(len(rows) + 1, dtype=np.int64), rows)
        queries = self._factors[rows]
        nobody = np.zeros(len(rows), np.float32)
        found, values = search(self._catalogue, 0.0, queries, nobody, n, itself)
        return self._by_distance(rows, found) if self.metric == "euclidean" else (found, values)

    def _by_distance(self, rows: I64, found: I64) -> tuple[I64, F32]:
        """Distances anew: ‖p - q‖² from products loses what p and q have in common."""
        apart = self._factors[found].astype(np.float64) - self._factors[rows][:, None, :]
        distances = np.where(found < 0, np.nan, np.sqrt((apart * apart).sum(2))).astype(np.float32)
        order = np.lexsort((found, distances), axis=1)
        return np.take_along_axis(found, order, 1), np.take_along_axis(distances, order, 1)


def _unit(wide: F64) -> F32:
    norms = np.sqrt((wide * wide).sum(1, keepdims=True))
    return np.ascontiguousarray((wide / np.where(norms > 0, norms, 1.0)).astype(np.float32))
