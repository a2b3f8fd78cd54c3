"""cmfrec's CMF as a contender: biases, λ·n, three conjugate-gradient steps a row, and item features if it gets any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds
from cmfrec import CMF
from scipy import sparse

from recsys_spark.benchmark.contender import seconds_of
from recsys_spark.benchmark.runners.in_memory import Ids, InMemory, Ratings, place_of, places
from recsys_spark.benchmark.spec import TEST, FitOrder, Served
from recsys_spark.features.columns import columns_from_table, to_csr
from recsys_spark.schema import ITEM, USER


@dataclass(frozen=True)
class Fitted:
    """cmfrec's model, None after no iterations, and the matrix that it was fitted to."""

    cmf: Any
    ratings: Ratings


class CmfrecAls(InMemory):
    """Fits of cmfrec, as `contender.Runner` wants them."""

    def fit(self, order: FitOrder) -> Fitted:
        """Read, and all iterations."""
        plan, ratings = self.spec.plan, self.read()
        features = self._features(ratings.items)
        if not order.max_iter:
            return Fitted(None, ratings)
        reg = plan.reg if order.reg is None else order.reg
        cmf = CMF(
            k=plan.train.rank,
            lambda_=0.1 if reg is None else reg,
            scale_lam=True,
            method="als",
            niter=order.max_iter,
            use_float=True,
            NA_as_zero_item=features is not None,  # what a sparse row of features lacks is 0, not unknown
            precompute_for_predictions=False,
            random_state=plan.train.seed,
            nthreads=self.spec.cores,
            verbose=False,
        )
        return Fitted(cmf.fit(X=ratings.matrix, I=features), ratings)

    def predict(self, model: Fitted, users: Ids, items: Ids) -> npt.NDArray[Any]:
        """Predictions where it knows both; NaN elsewhere."""
        row, column = places(model.ratings.users, users), places(model.ratings.items, items)
        known = (row >= 0) & (column >= 0)
        out = np.full(len(users), np.nan)
        out[known] = model.cmf.predict(row[known], column[known])
        return out

    def serve(self, model: Fitted) -> Served:
        """Predictions of the test rows; it has top-N for one user a call, and is saved as a pickle alone."""
        test = self._table(TEST)
        users, items = test[USER].to_numpy(), test[ITEM].to_numpy()
        return Served(transform=seconds_of(lambda: self.predict(model, users, items)))

    def _features(self, items: Ids) -> sparse.coo_matrix | None:
        """(I, d) of the plan's groups, in the order of `items`; None: no groups."""
        if self.spec.plan.groups == ():
            return None
        columns = columns_from_table(ds.dataset(place_of(self.spec.features, f"{ITEM}_columns")).to_table())
        rows = ds.dataset(place_of(self.spec.features, ITEM)).to_table()
        indptr, indices, values = to_csr(rows, ITEM, items)
        matrix = sparse.csr_matrix((values, indices, indptr), (len(items), len(columns)))
        groups = self.spec.plan.groups
        kept = [c.index for c in columns if groups is None or c.group in groups]
        return matrix[:, kept].tocoo()
