"""The rankers that the model is compared with, and the protocol, on data with a known answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from recsys_spark.config import RankingSettings
from recsys_spark.evaluate.contest import (
    describe,
    popularity_model,
    ranking_metrics,
    relevance_threshold,
    svd_model,
)
from tests.model_factory import random_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DDL = "user long, item long, rating float"
# Two tastes: odd users rate odd items, even users even ones; item 1 most, then 2, then 3 …
TRAIN = [(u, i, 5.0) for u in range(1, 13) for i in range(1, 9) if u % 2 == i % 2 and (u + i) % 7 > i // 3]


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(TRAIN, DDL).persist()


def test_popularity_counts(train: DataFrame) -> None:
    model = popularity_model(train)
    counts = {i: sum(j == i for _, j, _ in TRAIN) for i in sorted({i for _, i, _ in TRAIN})}
    assert model.item.ids.to_pylist() == list(counts)
    assert model.item.biases.tolist() == list(counts.values())
    _, scores = model.top_n(pa.array([77]), 2)
    assert scores[0].tolist() == sorted(counts.values(), reverse=True)[:2]


@pytest.mark.parametrize("strings", [False, True])
def test_svd_is_the_best_approximation_of_its_rank(train: DataFrame, strings: bool) -> None:
    frame = train.selectExpr("concat('u', user) user", "concat('i', item) item", "rating") if strings else train
    model = svd_model(frame, 2)
    users, items = (side.ids.to_pylist() for side in (model.user, model.item))
    dense = np.zeros((len(users), len(items)))
    for u, i, r in TRAIN:
        dense[users.index(f"u{u}" if strings else u), items.index(f"i{i}" if strings else i)] = r
    left, lengths, right = np.linalg.svd(dense)
    expected = (left[:, :2] * lengths[:2]) @ right[:2]
    np.testing.assert_allclose(model.user.factors @ model.item.factors.T, expected, atol=1e-4)


def test_an_svd_of_one_column_is_popularity(spark: SparkSession) -> None:
    assert svd_model(spark.createDataFrame([(1, 7, 2.0), (2, 7, 3.0)], DDL), 4).item.biases.tolist() == [2.0]


def test_everyone_is_judged_by_the_same_protocol(
    spark: SparkSession, train: DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    own = {u: {i for v, i, _ in TRAIN if v == u} for u in range(1, 13)}
    rest = [(u, i, 5.0) for u in own for i in range(1, 9) if u % 2 == i % 2 and i not in own[u]]
    liked, disliked = rest[::2], [(u, i, 1.0) for u, i, _ in rest[1::2]]
    test = spark.createDataFrame([*liked, *disliked, (50, 1, 5.0)], DDL)
    settings = RankingSettings(k=4, svd_rank=2)
    model = random_model(users=4)  # of other ids than these: nothing to recommend
    found = ranking_metrics(model, train.select("user", "item"), train, test, settings, (1.0, 5.0))
    users = {u for u, *_ in liked} | {50}
    assert {name: metrics["users"] for name, metrics in found.items()} == dict.fromkeys(found, len(users))
    assert list(found) == ["model", "popularity", "svd"]
    assert found["svd"]["recall"] > found["popularity"]["recall"] > 0  # it knows the two tastes
    text = describe(settings, (1.0, 5.0), found)
    assert text.startswith(f"Lists of 4 for {len(users)} users with a relevant test item (rated 4 or more)")
    few = RankingSettings(k=4, users=2, svd_ratings=3, relevant=1)
    with caplog.at_level(logging.INFO):
        found = ranking_metrics(model, train.select("user", "item"), train, test, few, (1.0, 5.0))
    assert (list(found), found["popularity"]["users"]) == (["model", "popularity"], 2)
    assert f"no truncated SVD to compare with: {len(TRAIN)} training ratings" in caplog.text
    assert "Truncated SVD is left out above 3 ratings" in describe(few, (1.0, 5.0), found)


def test_three_quarters_up_the_scale() -> None:
    assert relevance_threshold(RankingSettings(), (0.5, 4.5)) == 3.5
    assert relevance_threshold(RankingSettings(relevant=2), (0.5, 4.5)) == 2
