"""A model as it serves today: users who rated since it was trained, folded in; driver."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_spark import lake
from recsys_spark.als.foldin import merged
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import USERS
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import NotPublishedError
from recsys_spark.features.job import read_columns
from recsys_spark.ml.foldin import fold_frame, only
from recsys_spark.schema import INDICES, ITEM, RATING, USER, VALUES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)


def with_newcomers(
    spark: SparkSession, model: FittedModel, ratings: DataFrame, features: DataFrame | None = None
) -> tuple[FittedModel, int]:
    """The model with a row for each user of the ratings whom it was not trained on, and how many these are.

    Parameters
    ----------
    ratings : user, item, rating: all that is known of each user who is in it
    features : user, indices, values in the model's columns, of any users

    Users who rated nothing that the model knows stay out: they get the fallback, or what their features predict.
    """
    trained = pa.table({USER: model.user.ids.filter(pa.array(model.user.counts > 0))})
    theirs = ratings.join(spark.createDataFrame(trained), USER, "left_anti").select(USER, ITEM, RATING)
    if theirs.isEmpty():
        return model, 0
    if features is not None:
        features = features.join(theirs.select(USER).distinct(), USER, "left_semi").select(USER, INDICES, VALUES)
    shared = spark.sparkContext.broadcast(model)
    try:
        names = {"user": USER, "item": ITEM, "rating": RATING}
        folded, _ = fold_frame(shared, model, USERS, theirs, features, names)
    finally:
        shared.destroy()
    known = only(folded, folded.counts > 0)
    return replace(model, user=merged(model.user, known)), len(known.ids)


def user_features(spark: SparkSession, settings: Settings, model: FittedModel) -> lake.Published | None:
    """The lake's features, where they describe users in the model's columns; None where that model has no use for them.

    A model with user features whose columns are others goes without, which is said.
    """
    if not model.user.columns:
        return None
    try:
        found = lake.current(spark, step_root(settings, "features"), "features")
    except NotPublishedError:
        found = None
    wanted = [(column.group, column.name) for column in model.user.columns]
    if found and [(c.group, c.name) for c in read_columns(spark, found.path, USER)] == wanted:
        return found
    log.warning("the lake's user features are not those of the model: new users are folded in without features")
    return None
