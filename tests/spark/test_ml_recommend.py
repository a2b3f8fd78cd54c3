"""Recommendations of the model beside pyspark.ml.ALSModel's: schema, columns, subsets; and what is new."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from chispa.schema_comparer import assert_schema_equality
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import types as T

from recsys_spark import BlockALSModel
from recsys_spark.errors import DataError
from tests.model_factory import random_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

USERS = [100, 103, 106]
ITEMS = [7, 9, 11, 13]


@pytest.fixture(scope="module")
def theirs(spark: SparkSession) -> ALSModel:
    rows = [(u, i, float((u + i) % 5)) for u in USERS for i in ITEMS]
    ratings = spark.createDataFrame(rows, "who int, what int, rating float")
    als = ALS(rank=2, maxIter=1, userCol="who", itemCol="what", numUserBlocks=1, numItemBlocks=1, seed=1)
    return als.fit(ratings)


@pytest.fixture(scope="module")
def ours(theirs: ALSModel) -> BlockALSModel:
    """The same factors, without biases: the two must then agree."""
    model = random_model(users=3, items=4, rank=2, features=False)

    def side(name: str, found: DataFrame) -> object:
        rows = sorted(found.collect())
        factors = np.array([row.features for row in rows], np.float32)
        ids = pa.array([row.id for row in rows], pa.int64())
        return replace(getattr(model, name), ids=ids, factors=factors, biases=np.zeros(len(rows), np.float32))

    fitted = replace(model, user=side("user", theirs.userFactors), item=side("item", theirs.itemFactors), mu=0.0)
    return BlockALSModel(fitted)._set(userCol="who", itemCol="what")


def table(df: DataFrame) -> dict[int, list[tuple[int, float]]]:
    found = [(row[0], [tuple(pair) for pair in row.recommendations]) for row in df.collect()]
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def close(a: DataFrame, b: DataFrame) -> None:
    left, right = table(a), table(b)
    assert left.keys() == right.keys()
    for key, pairs in left.items():
        assert [i for i, _ in pairs] == [i for i, _ in right[key]]
        assert [r for _, r in pairs] == pytest.approx([r for _, r in right[key]], abs=1e-5)


def test_names_shapes_order_and_subsets_are_pyspark_s(
    spark: SparkSession, theirs: ALSModel, ours: BlockALSModel
) -> None:
    users = spark.createDataFrame([(103, 1), (103, 2), (None, 3), (100, 4), (5, 5)], "who int, other int")
    items = spark.createDataFrame([(9,), (None,), (9,), (99,)], "what int")
    for method, arguments in {
        "recommendForAllUsers": (3,),
        "recommendForAllItems": (9,),
        "recommendForUserSubset": (users, 2),
        "recommendForItemSubset": (items, 1),
    }.items():
        mine, his = getattr(ours, method)(*arguments), getattr(theirs, method)(*arguments)
        close(mine, his)
        names = [his.columns[0], [pair.name for pair in his.schema["recommendations"].dataType.elementType]]
        key, (other, rating) = names
        ddl = f"{key} bigint, recommendations array<struct<{other}: bigint, {rating}: float>>"
        assert_schema_equality(mine.schema, T.StructType.fromDDL(ddl), ignore_nullable=True)


def test_the_rating_is_the_prediction_and_ties_go_to_the_lower_id(spark: SparkSession) -> None:
    model = random_model()
    model.item.factors[3:9], model.item.biases[3:9] = model.item.factors[3], 2.0
    ranked = table(BlockALSModel(model).recommendForAllUsers(5))
    assert set(ranked) == set(model.user.ids.to_pylist())
    assert any([i for i, _ in pairs] == [13, 15, 17, 19, 21] for pairs in ranked.values())
    for user, pairs in ranked.items():
        scores = model.predict(pa.array([user] * 5), pa.array([i for i, _ in pairs]), clip=False)
        assert [r for _, r in pairs] == scores.tolist()


def test_what_was_seen_candidates_and_few_ratings(spark: SparkSession) -> None:
    fitted = random_model()
    model = BlockALSModel(fitted)
    seen = spark.createDataFrame([(100, 7, "x"), (100, 9, "y"), (999, 11, "z")], "user long, item int, more string")
    wanted = spark.createDataFrame([(7,), (11,), (4242,), (None,)], "item long")
    got = table(model.recommendForAllUsers(30, excludeSeen=seen, candidates=wanted))
    assert {user: sorted(i for i, _ in pairs) for user, pairs in got.items()} == {
        user: [11] if user == 100 else [7, 11] for user in fitted.user.ids.to_pylist()
    }
    rated = fitted.item.ids.to_numpy()[fitted.item.counts >= 20].tolist()
    subset = model.recommendForUserSubset(seen, 30, minRatings=20, excludeSeen=seen)
    assert {user: sorted(i for i, _ in pairs) for user, pairs in table(subset).items()} == {
        100: [i for i in rated if i not in (7, 9)]
    }
    back = table(model.recommendForItemSubset(wanted, 30, excludeSeen=seen))
    assert {item: 100 in [u for u, _ in pairs] for item, pairs in back.items()} == {7: False, 11: True}


def test_taste_over_popularity_and_cosine_order_but_do_not_score(spark: SparkSession) -> None:
    fitted = random_model()
    model, user = BlockALSModel(fitted), spark.createDataFrame([(103,)], "user int")
    p, q = fitted.user.factors[1].astype(float), fitted.item.factors.astype(float)
    ids = fitted.item.ids.to_pylist()
    for keywords, order in (
        ({"itemBiasWeight": 0.0}, q @ p),
        ({"metric": "cosine"}, q @ p / np.linalg.norm(q, axis=1)),
    ):
        pairs = table(model.recommendForUserSubset(user, 4, **keywords))[103]
        best = [ids[i] for i in np.argsort(-order)[:4]]
        assert [i for i, _ in pairs] == best
        scores = fitted.predict(pa.array([103] * 4), pa.array(best), clip=False)
        assert [r for _, r in pairs] == scores.tolist()


def test_unknown_users_with_a_fallback(spark: SparkSession) -> None:
    fitted = random_model(string_ids=True)
    model = BlockALSModel(fitted).setColdStartStrategy("fallback")
    users = spark.createDataFrame([("new",), ("u0100",), (None,)], "user string")
    ranked = table(model.recommendForUserSubset(users, 2))
    assert ranked.keys() == {"new", "u0100"}
    assert [i for i, _ in ranked["new"]] == [
        fitted.item.ids[int(b)].as_py() for b in np.argsort(-fitted.item.biases)[:2]
    ]


def test_profiles(spark: SparkSession) -> None:
    fitted = random_model()
    fitted = replace(fitted, user=replace(random_model(users=30).item, ids=pa.array(range(30))))
    rows = spark.createDataFrame([("drama", [0], [1.0])], "profile string, indices array<int>, values array<double>")
    found = BlockALSModel(fitted).recommendForFeatures(rows, 1)
    assert found.columns == ["profile", "recommendations"]
    scores = fitted.item.biases + fitted.item.factors @ fitted.user.projection[0]
    assert [i for i, _ in table(found)["drama"]] == [7 + 2 * int(np.argmax(scores))]
    with pytest.raises(DataError, match="fitted without user features"):
        BlockALSModel(random_model()).recommendForFeatures(rows, 1)
    with pytest.raises(DataError, match="no column values in the profiles; they have profile, indices"):
        BlockALSModel(fitted).recommendForFeatures(rows.drop("values"), 1)


def test_wrong_columns(spark: SparkSession) -> None:
    model = BlockALSModel(random_model())
    with pytest.raises(DataError, match=r"no column 'user' \(of the user\) in the data, which have id"):
        model.recommendForUserSubset(spark.range(3), 1)
    with pytest.raises(DataError, match="item column 'item' is string, but the model's item ids are int64"):
        model.recommendForAllUsers(1, candidates=spark.createDataFrame([("7",)], "item string"))
    with pytest.raises(DataError, match="no column 'item'"):
        model.recommendForAllUsers(1, excludeSeen=spark.range(3).withColumnRenamed("id", "user"))
