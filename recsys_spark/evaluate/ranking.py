"""Ranking metrics of top-N lists over DataFrames, as a pyspark.ml Evaluator; driver.

For user u let L be the list, its first k items l_1 … l_k (fewer where it is shorter), T the relevant test items, those
rated at least ``relevanceThreshold``, and h_j = 1 where l_j ∈ T. Users without a relevant item are not counted; users
without a list count with zeros. All but the last three are means over users.

    precision          Σ h_j / k                                          Herlocker et al., ACM TOIS 22(1), 2004, §4.2
    recall             Σ h_j / |T|                                        likewise
    ndcg               Σ h_j / log₂(j+1)  over  Σ_{j ≤ min(|T|, k)} 1 / log₂(j+1)
                                                                          Järvelin and Kekäläinen, ACM TOIS 20(4), 2002
    map                Σ_j h_j (Σ_{m ≤ j} h_m / j) / min(|T|, k)          as pyspark.mllib's meanAveragePrecisionAt
    mrr                1 / the first j with h_j = 1, 0 if there is none   Voorhees, TREC-8, 1999
    hit_rate           1 if there is one, else 0                          Deshpande and Karypis, ACM TOIS 22(1), 2004
    coverage           share of the trained items that are in any list    Ge, Delgado-Battenfeld, Jannach, RecSys 2010
    novelty            mean of -log₂(n_i / U) over all places in bits; n_i of U training users rated item i (at least 1)
                                                                          Zhou et al., PNAS 107(10), 2010
    popularity_share   share of places that go to the most rated fifth of the trained items (rounded up, ties to the
                       lower id): one minus the long tail's share         Abdollahpouri et al., FLAIRS 2019

The last three need the training ratings. Sums are exact (decimals), so results do not depend on partitioning.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pyspark import keyword_only
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasPredictionCol
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import functions as F

from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ACCURACY = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
BEYOND = ("coverage", "novelty", "popularity_share")
HEAD = 0.2
_EXACT = "decimal(20,15)"


def _param(name: str, doc: str, converter: Any = TypeConverters.toString) -> Any:
    return Param(Params._dummy(), name, doc, typeConverter=converter)


class TopNEvaluator(Evaluator, HasPredictionCol, DefaultParamsReadable, DefaultParamsWritable):
    """Evaluates lists of recommendations (`metrics`), or, for CrossValidator, predictions of test ratings (`evaluate`).

    The protocol is in the input. `metrics` takes lists as `BlockALSModel.recommendFor…` makes them: their candidates
    and what was left out (``excludeSeen``) are chosen there. `evaluate` ranks each user's own test items by prediction,
    which says how well they are ordered and nothing of how they would be found among all others.

    >>> TopNEvaluator(metricName="ndcg", k=10, relevanceThreshold=4.0).evaluate(model.transform(test))  # doctest: +SKIP
    """

    metricName: Param[str] = _param("metricName", f"what evaluate returns: {', '.join(ACCURACY)}")
    k: Param[int] = _param("k", "places of a list that count", TypeConverters.toInt)
    relevanceThreshold: Param[float] = _param(
        "relevanceThreshold", "a test item is relevant if it is rated at least this", TypeConverters.toFloat
    )
    userCol: Param[str] = _param("userCol", "column of user ids")
    itemCol: Param[str] = _param("itemCol", "column of item ids")
    ratingCol: Param[str] = _param("ratingCol", "column of ratings")

    _input_kwargs: dict[str, Any]  # set by keyword_only

    @keyword_only
    def __init__(
        self,
        *,
        metricName: str = "ndcg",
        k: int = 10,
        relevanceThreshold: float = 0.0,
        userCol: str = "user",
        itemCol: str = "item",
        ratingCol: str = "rating",
        predictionCol: str = "prediction",
    ) -> None:
        super().__init__()
        self._setDefault(
            metricName="ndcg", k=10, relevanceThreshold=0.0, userCol="user", itemCol="item", ratingCol="rating",
            predictionCol="prediction",
        )  # fmt: skip
        self.setParams(**self._input_kwargs)

    @keyword_only
    def setParams(self, **params: Any) -> TopNEvaluator:
        """Set Params by name. DataError where k or the metric makes no sense."""
        self._set(**self._input_kwargs)
        if self.getOrDefault(self.k) < 1:
            raise DataError(f"k must be at least 1, found {self.getOrDefault(self.k)}")
        if self.getOrDefault(self.metricName) not in ACCURACY:
            raise DataError(
                f"metricName must be one of {', '.join(ACCURACY)}, found {self.getOrDefault(self.metricName)!r}; "
                f"{', '.join(BEYOND)} need training ratings and whole lists: see metrics()"
            )
        return self

    def isLargerBetter(self) -> bool:
        """Of every metric that `evaluate` returns."""
        return True

    def metrics(self, recommendations: DataFrame, truth: DataFrame, train: DataFrame | None = None) -> dict[str, float]:
        """Every metric by name, and ``users``, how many were counted. NaN where there is no such user or no `train`.

        Parameters
        ----------
        recommendations : the user column, and ``recommendations``, an array of structs with the item column, best first
        truth : user, item and rating columns: the test ratings
        train : user and item columns: the training ratings, each pair once
        """
        k, user, item = (self.getOrDefault(name) for name in ("k", "userCol", "itemCol"))
        _require(recommendations, "recommendations", [user, "recommendations"])
        _require(truth, "test ratings", [user, item, self.getOrDefault("ratingCol")])
        lists = recommendations.select(user, F.slice(F.col("recommendations")[item], 1, k).alias("list"))
        joined = self._relevant(truth).join(lists, user, "left")
        joined = joined.withColumn("list", F.coalesce("list", F.expr("slice(relevant, 1, 0)")))
        found = self._accuracy(joined)
        if train is None:
            return {**found, **dict.fromkeys(BEYOND, math.nan)}
        _require(train, "training ratings", [user, item])
        return {**found, **self._beyond(joined, train)}

    def _evaluate(self, dataset: DataFrame) -> float:
        user, item, score = (self.getOrDefault(name) for name in ("userCol", "itemCol", "predictionCol"))
        _require(dataset, "predictions", [user, item, self.getOrDefault("ratingCol"), score])
        known = dataset.where(F.col(score).isNotNull() & ~F.isnan(score))
        ranked = F.sort_array(F.collect_list(F.struct((-F.col(score)).alias("order"), F.col(item).alias("item"))))
        lists = known.groupBy(user).agg(F.slice(ranked["item"], 1, self.getOrDefault(self.k)).alias("list"))
        joined = self._relevant(dataset).join(lists, user, "left")
        joined = joined.withColumn("list", F.coalesce("list", F.expr("slice(relevant, 1, 0)")))
        return self._accuracy(joined)[self.getOrDefault(self.metricName)]

    def _relevant(self, truth: DataFrame) -> DataFrame:
        """(user, relevant: array of items) of the users who have any."""
        user, item, rating = (self.getOrDefault(name) for name in ("userCol", "itemCol", "ratingCol"))
        good = truth.where(F.col(rating) >= self.getOrDefault(self.relevanceThreshold))
        return good.groupBy(user).agg(F.collect_set(item).alias("relevant"))

    def _accuracy(self, joined: DataFrame) -> dict[str, float]:
        k, size = self.getOrDefault(self.k), F.size("relevant")
        hits = F.transform("list", lambda x, j: F.when(F.array_contains(F.col("relevant"), x), j + 1))
        per_user = joined.select(size.alias("size"), F.filter(hits, lambda j: j.isNotNull()).alias("hits"))
        at, n = F.col("hits"), F.size("hits")
        most = F.least(F.col("size"), F.lit(k))
        gain = _total(F.transform(at, lambda j: 1 / F.log2(j + 1)))
        ideal = _total(F.transform(F.sequence(F.lit(1), most), lambda j: 1 / F.log2(j + 1)))
        values: dict[str, Column] = {
            "precision": n / k,
            "recall": n / F.col("size"),
            "ndcg": gain / ideal,
            "map": _total(F.transform(at, lambda j, m: (m + 1) / j)) / most,
            "mrr": F.when(n > 0, 1 / F.get(at, F.lit(0))).otherwise(0.0),
            "hit_rate": (n > 0).cast("double"),
        }
        sums = [F.sum(value.cast(_EXACT)).cast("double").alias(name) for name, value in values.items()]
        row = per_user.agg(F.count(F.lit(1)).alias("users"), *sums).collect()[0]
        users = row["users"]
        return {**{name: row[name] / users if users else math.nan for name in values}, "users": users}

    def _beyond(self, joined: DataFrame, train: DataFrame) -> dict[str, float]:
        user, item = self.getOrDefault(self.userCol), self.getOrDefault(self.itemCol)
        counts = train.groupBy(item).agg(F.count(F.lit(1)).alias("n"))
        counts = counts.persist()
        try:
            items = counts.count()
            users = train.select(user).distinct().count()
            places = joined.select(F.explode("list").alias(item)).groupBy(item).agg(F.count(F.lit(1)).alias("places"))
            head = (
                counts.orderBy(F.desc("n"), item).limit(math.ceil(HEAD * items)).select(item, F.lit(True).alias("head"))
            )
            listed = places.join(counts, item, "left").join(head, item, "left")
            bits = F.log2(F.lit(float(users)) / F.greatest(F.coalesce("n", F.lit(0)), F.lit(1)))
            row = listed.agg(
                F.sum("places").alias("places"),
                F.count("n").alias("items"),
                F.sum(bits.cast(_EXACT) * F.col("places")).cast("double").alias("bits"),
                F.sum(F.when(F.col("head"), F.col("places"))).alias("head"),
            ).collect()[0]
        finally:
            counts.unpersist()
        if not row["places"] or not items:
            return {"coverage": 0.0 if items else math.nan, "novelty": math.nan, "popularity_share": math.nan}
        return {
            "coverage": row["items"] / items,
            "novelty": row["bits"] / row["places"],
            "popularity_share": (row["head"] or 0) / row["places"],
        }


def _total(values: Column) -> Column:
    return F.aggregate(values, F.lit(0.0), lambda a, b: a + b)


def _require(df: DataFrame, what: str, columns: list[str]) -> None:
    missing = [column for column in columns if column not in df.columns]
    if missing:
        raise DataError(f"no column {', '.join(missing)} in the {what}; they have {', '.join(df.columns)}")
