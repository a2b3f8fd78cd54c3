"""What contenders of one process share: no Spark, the ratings as arrays that pyarrow reads from Parquet."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from scipy import sparse

from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, TEST, Course, FitOrder, Judged, Served, Size, Spec
from recsys_spark.schema import ITEM, RATING, USER

Ids = npt.NDArray[Any]


@dataclass(frozen=True)
class Ratings:
    """Training ratings as a matrix in the order of their ids.

    Attributes
    ----------
    users, items : int (U,), (I,), ascending
    matrix : float32 (U, I)
    """

    users: Ids
    items: Ids
    matrix: sparse.coo_matrix


class InMemory:
    """A `contender.Runner` but for `fit`, `predict` and `serve`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def fit(self, order: FitOrder) -> Any:
        """See `contender.Runner`."""
        raise NotImplementedError

    def predict(self, model: Any, users: Ids, items: Ids) -> npt.NDArray[Any] | None:
        """Predictions by pairs of ids, NaN where it has none; None: it does not predict ratings."""
        raise NotImplementedError

    def serve(self, model: Any) -> Served:
        """See `contender.Runner`."""
        raise NotImplementedError

    def prepare(self, order: FitOrder) -> None:
        """Nothing: every fit reads for itself."""

    def read(self) -> Ratings:
        """The training ratings: what a fit of no iterations consists of."""
        rows = self._table(KNOWN)
        return matrix_of(rows.filter(pc.invert(rows[HELD_OUT])))

    def force(self, model: Any) -> None:
        """Nothing is left to do."""

    def course(self, model: Any) -> Course:
        """It keeps no history of validation errors."""
        return Course()

    def judge(self, model: Any) -> Judged | None:
        """Errors on the held-out ratings and on the test fold, as `on_spark.errors` has them."""
        rows = self._table(KNOWN)
        train = rows.filter(pc.invert(rows[HELD_OUT]))[RATING].to_numpy()
        scale = float(train.min()), float(train.max()), float(train.mean(dtype=np.float64))
        found = []
        for part in (rows.filter(rows[HELD_OUT]), self._table(TEST)):
            predicted = self.predict(model, part[USER].to_numpy(), part[ITEM].to_numpy())
            if predicted is None:
                return None
            found.append(errors(part[RATING].to_numpy(), predicted, scale))
        (validation, _, held_out, _), (rmse, mae, tested, unknown) = found
        return Judged(
            validation_rmse=validation if held_out else None, test_rmse=rmse, test_mae=mae, rows=tested, unknown=unknown
        )

    def shuffled(self) -> None:
        """There is no Spark."""

    def settle(self) -> None:
        """Drop what is garbage."""
        gc.collect()

    def size(self) -> Size:
        """Of training and validation."""
        rows = self._table(KNOWN)
        return Size(ratings=len(rows), users=pc.count_distinct(rows[USER]), items=pc.count_distinct(rows[ITEM]))

    def blas(self) -> None:
        """None: no JVM."""

    def versions(self) -> dict[str, str]:
        """Of the packages."""
        from importlib import metadata

        from recsys_spark.tracking.provenance import versions

        return {**versions(), f"version.{self.spec.plan.kind}": metadata.version(self.spec.plan.kind)}

    def _table(self, name: str) -> pa.Table:
        return ds.dataset(place_of(self.spec.data, name), format="parquet").to_table()


def matrix_of(rows: pa.Table) -> Ratings:
    """(user, item, rating) as a matrix."""
    users, row = np.unique(rows[USER].to_numpy(), return_inverse=True)
    items, column = np.unique(rows[ITEM].to_numpy(), return_inverse=True)
    values = rows[RATING].to_numpy().astype(np.float32)
    shape = (len(users), len(items))
    return Ratings(users, items, sparse.coo_matrix((values, (row.astype(np.int32), column.astype(np.int32))), shape))


def places(known: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Where each wanted id stands among the ascending known ones; −1: nowhere."""
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, -1)


def errors(
    ratings: npt.NDArray[Any], predicted: npt.NDArray[Any], scale: tuple[float, float, float]
) -> tuple[float, float, int, int]:
    """(RMSE, MAE, rows, rows without a prediction): see `on_spark.errors`."""
    low, high, mean = scale
    unknown = np.isnan(predicted)
    error = ratings.astype(np.float64) - np.where(unknown, mean, np.clip(predicted, low, high))
    if not len(error):
        return 0.0, 0.0, 0, 0
    return float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error))), len(error), int(unknown.sum())


def place_of(data: str, name: str) -> str:
    """The table as pyarrow takes it, which reads a URI of the local file system with two slashes at least."""
    return f"{data.removeprefix('file://').removeprefix('file:')}/{name}"
