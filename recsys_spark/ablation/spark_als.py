"""pyspark.ml.ALS as a variant: fitted by Spark to the folds of a study, judged as the others are; driver.

It knows nothing of users and items without training ratings: there the biases' prediction stands in, in its favour. All
predictions are clipped to the scale.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALS

from recsys_spark.als import history
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import USERS, Block
from recsys_spark.evaluate.baselines import als_blocks
from recsys_spark.evaluate.rating import rmse
from recsys_spark.ml.from_spark import fitted_from_spark
from recsys_spark.schema import ITEM, RATING, USER
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.fitting import Chunk, Judged, list_gains
from recsys_spark.tuning.folds import Fold
from recsys_spark.tuning.lab import Fit, Lab

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_AT_ONCE = 4
"""Fits under way: Spark's are mostly scheduling on data of this size."""


class SparkAls:
    """Fits pyspark.ml.ALS where a `Lab` fits ours.

    Parameters
    ----------
    lab : of the same folds
    biases : what stands in where it has no prediction
    iterations : maxIter of every fit
    """

    def __init__(self, spark: SparkSession, lab: Lab, biases: Candidate, iterations: int) -> None:
        self.spark, self._lab, self._biases, self._iterations = spark, lab, biases, iterations

    def advance(self, fits: Sequence[Fit]) -> list[Chunk]:
        """Each fit whole, as one chunk."""
        return [Chunk((_rmse(self._lab.folds[f.fold], j),), None) for f, j in zip(fits, self.judge(fits), strict=True)]

    def judge(self, fits: Sequence[Fit]) -> list[Judged]:
        """As `Lab.judge`."""
        stand_ins = self._stand_ins(sorted({fit.fold for fit in fits}))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda fit: self._judge(fit, stand_ins[fit.fold]), fits))

    def _stand_ins(self, folds: Sequence[str]) -> dict[str, Judged]:
        missing = [fold for fold in folds if fold not in self._known]
        found = self._lab.judge([Fit(fold, self._biases) for fold in missing])
        self._known.update(zip(missing, found, strict=True))
        return self._known

    @cached_property
    def _known(self) -> dict[str, Judged]:
        return {}

    def _judge(self, fit: Fit, stand_in: Judged) -> Judged:
        assert fit.candidate.pyspark is not None
        rank, reg = fit.candidate.pyspark
        fold = self._lab.folds[fit.fold]
        train = training(fold)
        blocks = als_blocks(len(train))
        als = ALS(
            rank=rank, regParam=reg, maxIter=self._iterations, seed=0, userCol=USER, itemCol=ITEM, ratingCol=RATING,
            numUserBlocks=blocks, numItemBlocks=blocks,
        )  # fmt: skip
        ratings = self.spark.createDataFrame(train).coalesce(1).persist()
        try:
            ratings.count()
            began = time.perf_counter()
            fitted = als.fit(ratings)
            model = fitted_from_spark(fitted, regParam=reg, implicitPrefs=False, alpha=1.0, nonnegative=False)
            seconds = time.perf_counter() - began
        finally:
            ratings.unpersist()
        raw = model.predict(fold.judged[USER], fold.judged[ITEM], unknown="nan", clip=False)
        low, high = fit.candidate.train.clip or (-math.inf, math.inf)
        predictions = np.where(np.isnan(raw), stand_in.predictions, np.clip(raw, low, high)).astype(np.float32)
        return Judged(
            predictions,
            stand_in.popularity,
            history.table([]),
            _gains(model, fold, self._lab),
            seconds,
        )


def training(fold: Fold) -> pa.Table:
    """(user, item, rating): the fold's training ratings, by user."""
    rows = Block.from_buffer(fold.records[USERS]).ratings
    owner = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
    users, items = fold.plan.user.ids.take(pa.array(owner)), fold.plan.item.ids.take(pa.array(rows.cols))
    return pa.table({USER: users, ITEM: items, RATING: pa.array(rows.values)})


def _gains(model: FittedModel, fold: Fold, lab: Lab) -> np.ndarray:
    return list_gains(model, fold, lab.k, lab.relevant)


def _rmse(fold: Fold, judged: Judged) -> float:
    return rmse(fold.judged[RATING].to_numpy(), judged.predictions)
