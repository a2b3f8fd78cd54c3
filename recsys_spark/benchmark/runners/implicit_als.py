"""implicit's AlternatingLeastSquares as a contender: it fits preferences, not ratings, so that only its times count."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsys_spark.benchmark.contender import seconds_of
from recsys_spark.benchmark.runners.in_memory import Ids, InMemory, Ratings
from recsys_spark.benchmark.spec import TOP_N, FitOrder, Served


@dataclass(frozen=True)
class Fitted:
    """implicit's model, None after no iterations, and the matrix that it was fitted to."""

    als: Any
    ratings: Ratings
    csr: Any


class ImplicitAls(InMemory):
    """Fits of implicit, as `contender.Runner` wants them."""

    def fit(self, order: FitOrder) -> Fitted:
        """Read, and all iterations of three conjugate-gradient steps a row, its default."""
        ratings = self.read()
        csr = ratings.matrix.tocsr()
        if not order.max_iter:
            return Fitted(None, ratings, csr)
        with threadpool_limits(1, user_api="blas"):  # as it advises itself: its threads are for rows
            als = AlternatingLeastSquares(
                factors=self.spec.plan.train.rank,
                iterations=order.max_iter,
                num_threads=self.spec.cores,
                use_gpu=False,
                random_state=self.spec.plan.train.seed,
            )
            als.fit(csr, show_progress=False)
        return Fitted(als, ratings, csr)

    def predict(self, model: Fitted, users: Ids, items: Ids) -> None:
        """None: p·q is near 1 for what was rated, whatever the rating."""

    def serve(self, model: Fitted) -> Served:
        """Top-N lists as arrays, its own file format."""
        als, everyone = model.als, np.arange(len(model.ratings.users))
        top_n = seconds_of(lambda: als.recommend(everyone, model.csr, N=TOP_N, filter_already_liked_items=False))
        with tempfile.TemporaryDirectory(prefix="recsys-spark-served-") as folder:
            save = seconds_of(lambda: als.save(f"{folder}/model.npz"))
            load = seconds_of(lambda: type(als).load(f"{folder}/model.npz"))
        return Served(top_n=top_n, save=save, load=load)
