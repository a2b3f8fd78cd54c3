"""Recommendations of a fitted model, named and shaped as pyspark.ml.ALSModel's; driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.ml.params import BlockAlsModelParams
from recsys_spark.score.finder import Metric, Ranking
from recsys_spark.score.topn import candidate_rows, recommend_ids, recommend_profiles, recommend_rows

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame

    from recsys_spark.als.model import FittedModel


class Recommends(BlockAlsModelParams):
    """What a model offers beside `transform`: the best items for users, and the best users for items.

    Every method returns one row per id: the id under its own column's name, and ``recommendations``, an
    array<struct<id of the other side, rating float>> of at most n, best first; ties go to the lower id. Ids are bigint
    or string. ``rating`` is r̂(u, i), unclipped, so that the order shows in it. Keyword arguments of all:

    excludeSeen : DataFrame with the user and item columns; a pair that is in it is not recommended
    candidates : DataFrame with the id column of what is recommended: nothing else is. Its distinct ids are collected
    minRatings : training ratings (weights added up) that a candidate has at least; 1 leaves out those that are known by
        their features alone
    itemBiasWeight : β in [0, 1] (items for users): order by μ + b_u + β c_i + p_u · q_i; below 1, taste over popularity
    metric : ``score``, or ``cosine``: order by the cosine of p_u and q_i. ``rating`` stays r̂ with both

    Raises DataError where a column is missing or of another type than the model's ids, or an argument makes no sense.
    """

    fitted: FittedModel

    def _broadcast(self, dataset: DataFrame) -> Broadcast[FittedModel]:
        raise NotImplementedError

    def recommendForAllUsers(
        self,
        numItems: int,
        *,
        excludeSeen: DataFrame | None = None,
        candidates: DataFrame | None = None,
        itemBiasWeight: float = 1.0,
        minRatings: float = 0,
        metric: Metric = "score",
    ) -> DataFrame:
        """The best items for every user of the model: (user, recommendations)."""
        ranking = self._ranking(USERS, numItems, candidates, minRatings, metric, itemBiasWeight)
        return self._all(USERS, ranking, excludeSeen)

    def recommendForAllItems(
        self,
        numUsers: int,
        *,
        excludeSeen: DataFrame | None = None,
        candidates: DataFrame | None = None,
        minRatings: float = 0,
        metric: Metric = "score",
    ) -> DataFrame:
        """The best users for every item of the model: (item, recommendations)."""
        return self._all(ITEMS, self._ranking(ITEMS, numUsers, candidates, minRatings, metric), excludeSeen)

    def recommendForUserSubset(
        self,
        dataset: DataFrame,
        numItems: int,
        *,
        excludeSeen: DataFrame | None = None,
        candidates: DataFrame | None = None,
        itemBiasWeight: float = 1.0,
        minRatings: float = 0,
        metric: Metric = "score",
    ) -> DataFrame:
        """The best items for the users in a DataFrame, each once; nulls are ignored.

        Users that the model does not know have no row, as in pyspark.ml; with coldStartStrategy ``fallback`` they get
        the items of highest bias.
        """
        ranking = self._ranking(USERS, numItems, candidates, minRatings, metric, itemBiasWeight)
        return self._subset(USERS, dataset, ranking, excludeSeen)

    def recommendForItemSubset(
        self,
        dataset: DataFrame,
        numUsers: int,
        *,
        excludeSeen: DataFrame | None = None,
        candidates: DataFrame | None = None,
        minRatings: float = 0,
        metric: Metric = "score",
    ) -> DataFrame:
        """The best users for the items in a DataFrame; see `recommendForUserSubset`."""
        ranking = self._ranking(ITEMS, numUsers, candidates, minRatings, metric)
        return self._subset(ITEMS, dataset, ranking, excludeSeen)

    def recommendForFeatures(
        self,
        dataset: DataFrame,
        numItems: int,
        *,
        candidates: DataFrame | None = None,
        itemBiasWeight: float = 1.0,
        minRatings: float = 0,
        metric: Metric = "score",
    ) -> DataFrame:
        """The best items for user profiles that no user need have: (key, recommendations).

        `dataset` has a key of any type as its first column, and ``indices`` array<int> and ``values`` array<double> as
        `features.encode` makes them. One index with value 1 asks for the vector of that group.
        """
        ranking = self._ranking(USERS, numItems, candidates, minRatings, metric, itemBiasWeight)
        return recommend_profiles(self._broadcast(dataset), USERS, ranking, self._names(), dataset)

    def _names(self) -> tuple[str, str]:
        return self.getUserCol(), self.getItemCol()

    def _ranking(
        self, side: int, n: int, candidates: DataFrame | None, least: float, metric: Metric, beta: float = 1.0
    ) -> Ranking:
        ranking = Ranking(n, beta, metric, least)  # before the candidates are collected
        if candidates is None:
            return ranking
        rows = candidate_rows(self.fitted, 1 - side, candidates, self._names()[1 - side])
        return Ranking(n, beta, metric, least, rows)

    def _all(self, side: int, ranking: Ranking, seen: DataFrame | None) -> DataFrame:
        from pyspark.sql import SparkSession

        spark = seen.sparkSession if seen is not None else SparkSession.builder.getOrCreate()
        shared = self._broadcast(spark.range(0))
        if seen is None:
            return recommend_rows(spark, shared, side, ranking, self._names())
        return recommend_ids(shared, side, ranking, self._names(), None, seen, fallback=False)

    def _subset(self, side: int, dataset: DataFrame, ranking: Ranking, seen: DataFrame | None) -> DataFrame:
        fallback = self.getColdStartStrategy() == "fallback"
        shared = self._broadcast(dataset)
        return recommend_ids(shared, side, ranking, self._names(), dataset, seen, fallback=fallback)
