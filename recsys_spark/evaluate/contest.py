"""The model's top-N lists beside those of simpler rankers, all found and judged in the same way; driver."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.blocks.layout import USERS
from recsys_spark.blocks.partition import lookup
from recsys_spark.evaluate.ranking import TopNEvaluator
from recsys_spark.evaluate.report import MODEL, POPULARITY, SVD
from recsys_spark.schema import ITEM, RATING, USER
from recsys_spark.score.finder import Ranking
from recsys_spark.score.topn import recommend_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.config import RankingSettings

log = logging.getLogger(__name__)

_RELEVANT = 0.75
"""From here up the scale a rating means that the item was liked, unless the settings say otherwise."""


def relevance_threshold(settings: RankingSettings, scale: tuple[float, float]) -> float:
    """The lowest rating of a relevant item."""
    return scale[0] + _RELEVANT * (scale[1] - scale[0]) if settings.relevant is None else settings.relevant


def ranking_metrics(
    model: FittedModel,
    known: DataFrame,
    train: DataFrame,
    test: DataFrame,
    settings: RankingSettings,
    scale: tuple[float, float],
) -> dict[str, dict[str, float]]:
    """Metrics by predictor: the model, ``popularity`` and, where the ratings are not too many, ``svd``.

    The protocol: users with a relevant test item, at most ``settings.users`` of them, chosen by a hash of their id;
    among all items with a training rating, less the user's own `known` ones; in one list of k.

    Parameters
    ----------
    known : user, item of training and validation: what is left out of the lists
    train, test : user, item, rating
    """
    from pyspark.sql import functions as F

    spark = train.sparkSession
    evaluator = TopNEvaluator(k=settings.k, relevanceThreshold=relevance_threshold(settings, scale))
    users = test.where(F.col(RATING) >= evaluator.getOrDefault("relevanceThreshold")).select(USER).distinct()
    if settings.users:
        users = users.orderBy(F.xxhash64(USER), USER).limit(settings.users)
    users = spark.createDataFrame(users.toArrow())
    truth = test.join(F.broadcast(users), USER, "left_semi").persist()
    popular = popularity_model(train)
    rankers = {MODEL: model, POPULARITY: popular}
    ratings = int(popular.item.counts.sum())
    if ratings <= settings.svd_ratings:
        rankers[SVD] = svd_model(train, settings.svd_rank)
    else:
        log.info(
            "no truncated SVD to compare with: %d training ratings are more than evaluate.ranking.svd_ratings (%d), "
            "and it is made on the driver",
            ratings,
            settings.svd_ratings,
        )
    found: dict[str, dict[str, float]] = {}
    try:
        for name, ranker in rankers.items():
            rows = ranker.item.index(popular.item.ids)
            ranking = Ranking(settings.k, candidates=np.sort(rows[rows >= 0]))
            shared = spark.sparkContext.broadcast(ranker)
            lists = recommend_ids(shared, USERS, ranking, (USER, ITEM), users, known, fallback=True).persist()
            try:
                found[name] = evaluator.metrics(lists, truth, train)
            finally:
                lists.unpersist()
                shared.destroy()
    finally:
        truth.unpersist()
    return found


def describe(settings: RankingSettings, scale: tuple[float, float], found: Mapping[str, Mapping[str, float]]) -> str:
    """The protocol in a sentence or two."""
    text = (
        f"Lists of {settings.k} for {found[MODEL]['users']:,} users with a relevant test item (rated "
        f"{relevance_threshold(settings, scale):g} or more), among all items with a training rating, less those that "
        "the user rated in training or validation."
    )
    if SVD not in found:
        text += f" Truncated SVD is left out above {settings.svd_ratings:,} ratings (evaluate.ranking.svd_ratings)."
    return text


def popularity_model(train: DataFrame) -> FittedModel:
    """Every list is that of the most rated items: r̂ = n_i."""
    from pyspark.sql import functions as F

    table = train.groupBy(ITEM).agg(F.count(F.lit(1)).alias("n")).orderBy(ITEM).toArrow().combine_chunks()
    counts = table.column("n").to_numpy().astype(np.float64)
    ids = _ids(table.column(ITEM))
    nobody = _ids(train.select(USER).limit(0).toArrow().column(0))
    item = SideModel.plain(ids, np.zeros((len(ids), 0), np.float32), counts.astype(np.float32), counts)
    return FittedModel.plain(SideModel.plain(nobody, np.zeros((0, 0), np.float32)), item)


def svd_model(train: DataFrame, rank: int) -> FittedModel:
    """PureSVD: the best rank-k approximation of the rating matrix with zeros where there is no rating.

    Cremonesi, Koren and Turrin, "Performance of recommender algorithms on top-N recommendation tasks", RecSys 2010. All
    training ratings are brought to the driver.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import svds

    table = train.select(USER, ITEM, RATING).toArrow()
    sides = [_ids(pc.unique(table.column(name))) for name in (USER, ITEM)]
    sides = [ids.take(pc.sort_indices(ids)) for ids in sides]
    at = tuple(lookup(ids, table.column(name)) for ids, name in zip(sides, (USER, ITEM), strict=True))
    values = table.column(RATING).to_numpy().astype(np.float64)
    matrix = coo_array((values, at), shape=(len(sides[0]), len(sides[1]))).tocsr()
    k = min(rank, min(matrix.shape) - 1)
    if k < 1:
        return popularity_model(train)  # a single row or column: there is but one direction
    left, lengths, right = svds(matrix, k=k, v0=np.ones(min(matrix.shape)))
    factors = (np.ascontiguousarray(side, np.float32) for side in (left * lengths, right.T))
    users, items = (SideModel.plain(ids, side) for ids, side in zip(sides, factors, strict=True))
    return FittedModel.plain(users, items)


def _ids(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    return array.cast(pa.int64()) if pa.types.is_integer(array.type) else array
