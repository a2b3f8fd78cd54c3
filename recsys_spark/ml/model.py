"""BlockALSModel: a fitted model as a pyspark.ml transformer. Driver."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import functions as F

from recsys_spark.als.foldin import Folded, merged, side_of
from recsys_spark.als.model import FittedModel, Unknown
from recsys_spark.als.spread import SpreadModel, SpreadSide
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.frames import check_classic, model_id_column
from recsys_spark.ml.explain import explain_frame
from recsys_spark.ml.foldin import fold_frame, only
from recsys_spark.ml.from_spark import fitted_from_spark
from recsys_spark.ml.params import BlockAlsModelParams
from recsys_spark.ml.predictions import broadcast_predictions, joined_predictions
from recsys_spark.ml.recommend import Recommends
from recsys_spark.ml.similar import similar_frame
from recsys_spark.ml.summary import BlockALSTrainingSummary

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import Column, DataFrame

    from recsys_spark.ml.persistence import BlockALSModelReader

log = logging.getLogger(__name__)

_NO_ID = -(2**63)


class BlockALSModel(Recommends, Model, BlockAlsModelParams, MLWritable, MLReadable["BlockALSModel"]):
    """What `BlockALS.fit` returns: factors, biases, projections, history, and predictions from them.

    Attributes
    ----------
    trained : FittedModel or SpreadModel
        What the fit left behind. With exchange ``shuffle`` or ``mixed`` no process holds its rows: factors, saving and
        `transform` leave them where they are, all else brings them to the driver.
    """

    def __init__(self, fitted: FittedModel | SpreadModel) -> None:
        super().__init__()
        self.trained = fitted
        self._shared: Broadcast[FittedModel] | None = None

    @property
    def fitted(self) -> FittedModel:
        """The model as plain arrays; all that scoring without Spark needs. Brings rows to the driver where need be."""
        if isinstance(self.trained, SpreadModel):
            rows = len(self.trained.user) + len(self.trained.item)
            log.warning("bringing %d rows of rank %d to the driver", rows, self.rank)
            self.trained = self.trained.gathered(_session())
        return self.trained

    @fitted.setter
    def fitted(self, value: FittedModel) -> None:
        self.trained = value

    @property
    def rank(self) -> int:
        """Width of the factors."""
        return self.trained.rank

    @property
    def userFactors(self) -> DataFrame:
        """(id, features array<float>, bias float) of every user in the index."""
        return self._factors("user")

    @property
    def itemFactors(self) -> DataFrame:
        """(id, features array<float>, bias float) of every item in the index."""
        return self._factors("item")

    @property
    def history(self) -> DataFrame:
        """One row per iteration: J by term, RMSEs, seconds."""
        return _session().createDataFrame(self.trained.history)

    @property
    def hasSummary(self) -> bool:
        """Whether a fit made this model; its summary is saved with it."""
        return bool(self.trained.stop_reason)

    @property
    def summary(self) -> BlockALSTrainingSummary:
        """Iterations, seconds, why the fit stopped. RuntimeError where no fit made this model."""
        if not self.hasSummary:
            raise RuntimeError(f"No training summary available for this {type(self).__name__}")
        return BlockALSTrainingSummary(self.trained)

    @classmethod
    def fromSparkALS(
        cls,
        model: ALSModel,
        *,
        regParam: float = 0.1,
        implicitPrefs: bool = False,
        alpha: float = 1.0,
        nonnegative: bool = False,
    ) -> BlockALSModel:
        """A model of pyspark.ml.recommendation.ALS as one of ours: the same predictions.

        For `BlockALS.setInitialModel`, folding in, similar items and explanations, and ids that are then long. Spark's
        model does not know what it was fitted with; the arguments say it, and matter to folding in and explaining.
        """
        made = cls(
            fitted_from_spark(
                model, regParam=regParam, implicitPrefs=implicitPrefs, alpha=alpha, nonnegative=nonnegative
            )
        )
        model._copyValues(made)
        return made._set(clipPredictions=False)

    def foldInUsers(self, ratings: DataFrame, features: DataFrame | None = None) -> BlockALSModel:
        """A new model in which the users of ``ratings`` are what these ratings make of them, without training.

        Columns are named by the Params (userCol, itemCol, ratingCol, weightCol). A user's ratings replace all that was
        known of them; ratings of unknown items are left out. A training user's own ratings give back their stored row,
        bit for bit (where the model has user features, given the same features; without a users' graph).

        Parameters
        ----------
        ratings : DataFrame
            Rows stay on executors; the users' factors come to the driver.
        features : DataFrame of (id, indices, values), optional
            Features of these users in the model's columns; others' rows play no part.

        Raises
        ------
        DataError
            Columns that are missing, rows that cannot be used: named, with the first of them.
        """
        return self._folded(USERS, ratings, features)

    def foldInItems(self, ratings: DataFrame, features: DataFrame | None = None) -> BlockALSModel:
        """A new model in which the items of ``ratings`` are what these ratings make of them; see `foldInUsers`.

        An item's row is what the next iteration would make of it: items are solved before users, so a training item's
        own ratings lead close to its stored row and not to the same bits.
        """
        return self._folded(ITEMS, ratings, features)

    def withUserFeatures(self, rows: DataFrame) -> BlockALSModel:
        """A new model that knows users by their features alone: they get what the features predict.

        Parameters
        ----------
        rows : DataFrame of (id, indices, values)
            In the model's feature columns, as `BlockALS.setUserFeatures` takes them. Users with ratings stay what
            they are.
        """
        return self._described(USERS, rows)

    def withItemFeatures(self, rows: DataFrame) -> BlockALSModel:
        """A new model that knows items by their features alone; see `withUserFeatures`."""
        return self._described(ITEMS, rows)

    def similarItems(self, ids: Any, n: int, metric: str = "cosine") -> DataFrame:
        """(itemCol, similar: array of (itemCol, similarity)), the n items most like each of ``ids`` by their factors.

        Parameters
        ----------
        ids : DataFrame with itemCol, or list of ids
            Unknown ids get no row.
        metric : str
            ``cosine``, ``pearson``, or ``euclidean``, whose arrays hold a ``distance``.
        """
        return self._similar(ITEMS, ids, n, metric)

    def similarUsers(self, ids: Any, n: int, metric: str = "cosine") -> DataFrame:
        """The n users most like each of ``ids``; see `similarItems`."""
        return self._similar(USERS, ids, n, metric)

    def explain(self, user: Any, item: Any, ratings: DataFrame, features: DataFrame | None = None) -> DataFrame:
        """The user's score for the item as lines that add up to it: (term, id, name, contribution).

        ``mean``, ``user bias``, ``item bias``; a ``rating`` for each rated item, with its id; a ``feature`` for each of
        the user's features, with its name; ``unrated items`` where cells without a rating are part of the model.
        The sum is the unclipped score of the row that `foldInUsers` of these ratings makes: the stored one, if they are
        the training ratings.

        Parameters
        ----------
        ratings : DataFrame
            The user's ratings, in the columns of `foldInUsers`; others' rows are left aside.
        features : DataFrame of (id, indices, values), optional
            Likewise.

        Raises
        ------
        DataError
            The model does not know the item.
        """
        return explain_frame(self.fitted, user, item, ratings, features, self.data_columns())

    def write(self) -> MLWriter:
        """A writer: ``metadata/`` as pyspark.ml writes it, ``fitted/`` as `als.model_io` does."""
        from recsys_spark.ml.persistence import BlockALSModelWriter

        return BlockALSModelWriter(self)

    @classmethod
    def read(cls) -> BlockALSModelReader:
        """A reader of what `write` wrote."""
        from recsys_spark.ml.persistence import BlockALSModelReader

        return BlockALSModelReader()

    def copy(self, extra: object = None) -> BlockALSModel:
        """A copy with its own Params; the arrays are shared."""
        copied = super().copy(extra)  # type: ignore[arg-type]
        copied.trained, copied._shared = self.trained, self._shared
        return copied

    def _transform(self, dataset: DataFrame) -> DataFrame:
        strategy = self.getColdStartStrategy()
        unknown: Unknown = "fallback" if strategy == "fallback" else "nan"
        check_classic(dataset)
        how = (
            (self._id(dataset, self.getUserCol(), "user"), self._id(dataset, self.getItemCol(), "item")),
            self.getPredictionCol(),
            unknown,
            self.getOrDefault(self.clipPredictions),
        )
        if isinstance(self.trained, SpreadModel):
            out = joined_predictions(self.trained, dataset, *how)
        else:
            out = broadcast_predictions(self._broadcast(dataset), dataset, *how)
        return out.where(~F.isnan(self.getPredictionCol())) if strategy == "drop" else out

    def _id(self, dataset: DataFrame, column: str, side: str) -> Column:
        """The id column in the model's type; a null, or a fraction, becomes an id that no model knows.

        Pandas has no null long.
        """
        ids = self._id_types[side]
        found = model_id_column(dataset, column, side, ids)
        return F.coalesce(found, F.lit(_NO_ID)) if pa.types.is_integer(ids) else found

    def _folded(self, side: int, ratings: DataFrame, features: DataFrame | None) -> BlockALSModel:
        shared = self._broadcast(ratings)
        folded, rated = fold_frame(shared, self.fitted, side, ratings, features, self.data_columns())
        return self._with(side, only(folded, rated))

    def _described(self, side: int, rows: DataFrame) -> BlockALSModel:
        folded, _ = fold_frame(self._broadcast(rows), self.fitted, side, None, rows, self.data_columns())
        known = side_of(self.fitted, side)
        at = known.index(folded.ids)
        return self._with(side, only(folded, (at < 0) | (known.counts[at] == 0)))

    def _with(self, side: int, folded: Folded) -> BlockALSModel:
        """A copy with rows added or replaced."""
        changed = merged(side_of(self.fitted, side), folded)
        copied = self.copy()
        fitted = self.fitted
        copied.fitted = replace(fitted, user=changed) if side == USERS else replace(fitted, item=changed)
        copied._shared = None
        return copied

    def _similar(self, side: int, ids: Any, n: int, metric: str) -> DataFrame:
        column = self.getUserCol() if side == USERS else self.getItemCol()
        if isinstance(ids, list | tuple):
            kind = side_of(self.fitted, side).ids.type
            ids = _session().createDataFrame(pa.table({column: pa.array(ids, kind)}))
        return similar_frame(self._broadcast(ids), self.fitted, side, ids, column, n, metric)

    def _broadcast(self, dataset: DataFrame) -> Broadcast[FittedModel]:
        check_classic(dataset)
        if self._shared is None:
            self._shared = dataset.sparkSession.sparkContext.broadcast(self.fitted)
        return self._shared

    @property
    def _id_types(self) -> dict[str, pa.DataType]:
        sides = {"user": self.trained.user, "item": self.trained.item}
        return {name: pa.type_for_alias(s.ids) if isinstance(s.ids, str) else s.ids.type for name, s in sides.items()}

    def _factors(self, name: str) -> DataFrame:
        side = getattr(self.trained, name)
        if isinstance(side, SpreadSide):
            return side.rows.selectExpr("id", "factors as features", "bias")
        lists = pa.FixedSizeListArray.from_arrays(pa.array(side.factors.ravel()), side.rank) if side.rank else None
        features = (
            lists.cast(pa.list_(pa.float32()))
            if lists is not None
            else pa.array([[]] * len(side), pa.list_(pa.float32()))
        )
        table = pa.table({"id": side.ids, "features": features, "bias": np.asarray(side.biases)})
        return _session().createDataFrame(table)


def _session():  # type: ignore[no-untyped-def]
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()
