"""The ranking evaluator against a plain NumPy twin, and against pyspark's own metrics where it has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyspark.mllib.evaluation import RankingMetrics

from recsys_spark.errors import DataError
from recsys_spark.evaluate.ranking import ACCURACY, BEYOND, TopNEvaluator

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

Lists = dict[int, list[int]]
Ratings = list[tuple[int, int, float]]


def twin(lists: Lists, truth: Ratings, train: Ratings, k: int, threshold: float) -> dict[str, float]:
    users = sorted({u for u, _, r in truth if r >= threshold})
    rows, places = [], []
    for u in users:
        relevant = {i for v, i, r in truth if v == u and r >= threshold}
        top = lists.get(u, [])[:k]
        places += top
        h = np.array([i in relevant for i in top] + [False] * (k - len(top)))
        discount = 1 / np.log2(np.arange(k) + 2)
        best = min(len(relevant), k)
        precisions = np.cumsum(h) / np.arange(1, k + 1)
        rows.append(
            [
                h.sum() / k,
                h.sum() / len(relevant),
                (h * discount).sum() / discount[:best].sum(),
                (h * precisions).sum() / best,
                1 / (1 + np.argmax(h)) if h.any() else 0,
                h.any(),
            ]
        )
    n = {i: sum(j == i for _, j, _ in train) for i in {i for _, i, _ in train}}
    head = sorted(n, key=lambda i: (-n[i], i))[: math.ceil(0.2 * len(n))]
    everyone = len({u for u, _, _ in train})
    return {
        **dict(zip(ACCURACY, np.mean(rows, axis=0), strict=True)),
        "users": len(users),
        "coverage": len(set(places) & set(n)) / len(n),
        "novelty": np.mean([-np.log2(max(n.get(i, 0), 1) / everyone) for i in places]),
        "popularity_share": np.mean([i in head for i in places]),
    }


def drawn(seed: int) -> tuple[Lists, Ratings, Ratings]:
    rng = np.random.default_rng(seed)
    users, items = int(rng.integers(2, 12)), int(rng.integers(12, 30))

    def ratings(share: float) -> Ratings:
        kept = [(u, i) for u in range(users) for i in range(items) if rng.random() < share]
        return [(u, i, float(rng.integers(1, 6))) for u, i in kept]

    lists = {u: rng.permutation(items)[: rng.integers(0, 9)].tolist() for u in range(users) if rng.random() < 0.9}
    return lists, [*ratings(0.2), (0, 3, 5.0)], [*ratings(0.3), (0, 0, 1.0)]


def frames(spark: SparkSession, lists: Lists, truth: Ratings, train: Ratings) -> tuple[DataFrame, DataFrame, DataFrame]:
    rows = [(u, [(i, 1.0) for i in top]) for u, top in lists.items()]
    ddl = "user long, recommendations array<struct<item: long, rating: float>>"
    return (
        spark.createDataFrame(rows, ddl),
        spark.createDataFrame(truth, "user long, item long, rating float"),
        spark.createDataFrame(train, "user long, item long, rating float"),
    )


@pytest.mark.parametrize(("seed", "k"), [(0, 5), (1, 1), (2, 12), (3, 3)])
def test_agrees_with_the_twin_and_does_not_depend_on_partitions(spark: SparkSession, seed: int, k: int) -> None:
    drawn_data = drawn(seed)
    recommendations, truth, train = frames(spark, *drawn_data)
    evaluator = TopNEvaluator(k=k, relevanceThreshold=3.0)
    found = evaluator.metrics(recommendations, truth, train)
    assert found == pytest.approx(twin(*drawn_data, k, 3.0), abs=1e-12)
    if seed == 0:
        shuffled = (df.repartition(3, df.columns[0]) for df in (recommendations, truth, train))
        assert evaluator.metrics(*shuffled) == found


def test_agrees_with_pyspark_s_metrics(spark: SparkSession) -> None:
    lists, truth, train = drawn(5)
    found = TopNEvaluator(k=4).metrics(*frames(spark, lists, truth, train)[:2])
    users = sorted({u for u, *_ in truth})
    pairs = [([float(i) for i in lists.get(u, [])], [float(i) for v, i, _ in truth if v == u]) for u in users]
    theirs = RankingMetrics(spark.sparkContext.parallelize(pairs, 2))
    assert found["precision"] == pytest.approx(theirs.precisionAt(4))
    assert found["recall"] == pytest.approx(theirs.recallAt(4))
    assert found["ndcg"] == pytest.approx(theirs.ndcgAt(4))
    assert found["map"] == pytest.approx(theirs.meanAveragePrecisionAt(4))
    assert all(math.isnan(found[name]) for name in BEYOND)


def test_predictions_are_ranked_among_each_user_s_test_items(spark: SparkSession, tmp_path: Path) -> None:
    rows = [
        (1, 1, 5.0, 0.1),
        (1, 2, 1.0, 0.9),
        (1, 3, 4.0, 0.9),
        (1, 4, 5.0, float("nan")),
        (2, 1, 5.0, None),
        (3, 1, 1.0, 1.0),
    ]
    df = spark.createDataFrame(rows, "user int, item int, rating float, prediction float")
    evaluator = TopNEvaluator(metricName="mrr", k=2, relevanceThreshold=4.0)
    assert evaluator.evaluate(df) == pytest.approx((1 / 2 + 0) / 2)  # of user 1: items 2, 3; user 2 has no list
    assert evaluator.evaluate(df, {evaluator.k: 1}) == 0.0
    assert evaluator.isLargerBetter()
    evaluator.write().save(f"file:{tmp_path}/evaluator")
    assert TopNEvaluator.load(f"file:{tmp_path}/evaluator").evaluate(df) == evaluator.evaluate(df)


def test_nobody_to_count(spark: SparkSession) -> None:
    recommendations, truth, train = frames(spark, {1: [2]}, [(1, 2, 1.0)], [(1, 2, 1.0)])
    found = TopNEvaluator(relevanceThreshold=9.0).metrics(recommendations, truth, train)
    assert (found["users"], found["coverage"]) == (0, 0.0)
    assert all(math.isnan(found[name]) for name in (*ACCURACY, "novelty", "popularity_share"))


def test_refuses_what_makes_no_sense(spark: SparkSession) -> None:
    with pytest.raises(DataError, match="k must be at least 1, found 0"):
        TopNEvaluator(k=0)
    with pytest.raises(DataError, match=r"metricName must be one of .* found 'coverage'; .* see metrics"):
        TopNEvaluator(metricName="coverage")
    recommendations, truth, train = frames(spark, {1: [2]}, [(1, 2, 1.0)], [(1, 2, 1.0)])
    with pytest.raises(DataError, match="no column recommendations in the recommendations; they have user, item"):
        TopNEvaluator().metrics(truth, truth)
    with pytest.raises(DataError, match="no column rating in the test ratings"):
        TopNEvaluator().metrics(recommendations, truth.drop("rating"))
    with pytest.raises(DataError, match="no column user in the training ratings"):
        TopNEvaluator().metrics(recommendations, truth, train.drop("user"))
    with pytest.raises(DataError, match="no column prediction in the predictions"):
        TopNEvaluator().evaluate(truth)
