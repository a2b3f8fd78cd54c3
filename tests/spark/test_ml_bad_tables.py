"""Tables that no one would wish for, through BlockALS: the right answer, or an error that says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.errors import DataError, FitError
from recsys_spark.features.columns import FeatureColumn

ROWS = [(1, 10, 4.0), (1, 11, 2.0), (2, 10, 3.0), (2, 12, 5.0), (3, 11, 1.0)]
RATINGS = "user long, item long, rating double"
FEATURES = "id long, indices array<int>, values array<double>"
COLUMNS = (FeatureColumn(0, "genre", "Drama"), FeatureColumn(1, "genre", "War"))
NAN, INF = float("nan"), float("inf")


def als(**params: Any) -> BlockALS:
    """Small, in the way that leaves errors inside tasks: the other way's are the same errors of fewer layers."""
    kept = {"rank": 2, "maxIter": 2, "regParam": 1.0, "coldStartStrategy": "fallback", "execution": "task"}
    return BlockALS(**kept | params)


def frame(spark: SparkSession, rows: list[tuple[Any, ...]] = ROWS, ddl: str = RATINGS) -> DataFrame:
    return spark.createDataFrame(rows, ddl).coalesce(1)


def predictions(model: BlockALSModel, data: DataFrame) -> list[float]:
    return [row.prediction for row in model.transform(data).collect()]


def weighted(spark: SparkSession, *weights: float | None) -> DataFrame:
    rows = [(*row, weight) for row, weight in zip(ROWS, weights, strict=True)]
    return frame(spark, rows, f"{RATINGS}, w double")


def test_columns_that_are_all_null_are_named(spark: SparkSession) -> None:
    data = weighted(spark, *[1.0] * 5)
    nulls = data.select(*(F.lit(None).cast(field.dataType).alias(field.name) for field in data.schema))
    with pytest.raises(DataError) as caught:
        als(weightCol="w").fit(nulls)
    for column, what in {"user": "ids", "item": "ids", "rating": "or NaN ratings", "w": "or NaN weights"}.items():
        assert f"column '{column}' holds null {what} in 5 row(s); the first: " in str(caught.value)
        with pytest.raises(DataError, match=f"column '{column}' is void"):
            als(weightCol="w").fit(data.withColumn(column, F.lit(None)))


def test_nothing_to_learn_from(spark: SparkSession) -> None:
    with pytest.raises(DataError, match="no training rating left to index users by: the ratings are empty or all held"):
        als().fit(frame(spark, []))
    with pytest.raises(DataError, match="the ratings are empty or all held out"):
        als(validationIndicatorCol="held").fit(frame(spark).withColumn("held", F.lit(True)))
    with pytest.raises(FitError, match="no training rating with a weight above 0: nothing to fit"):
        als(weightCol="w").fit(weighted(spark, *[0.0] * 5))


ONE_USER = [(1, item, float(item)) for item in range(6)]
ONE_ITEM = [(user, 1, float(user)) for user in range(6)]


@pytest.mark.parametrize(
    ("rows", "execution"),
    [([(1, 1, 3.0)], "task"), ([(1, 1, 3.0)], "stages"), (ONE_USER, "task"), (ONE_ITEM, "stages")],
    ids=["one rating, in a task", "one rating, on stages", "one user", "one item"],
)
def test_one_of_a_kind(spark: SparkSession, rows: list[tuple[Any, ...]], execution: str) -> None:
    data = frame(spark, rows)
    model = als(execution=execution).fit(data)
    truth = [rating for *_, rating in rows]
    found = predictions(model, data)
    assert np.argsort(found, kind="stable").tolist() == np.argsort(truth, kind="stable").tolist()
    assert min(truth) <= min(found) <= max(found) <= max(truth)
    assert np.mean(found) == pytest.approx(np.mean(truth), abs=0.1)
    offered = model.recommendForAllUsers(5).collect()
    assert {len(row.recommendations) for row in offered} == {min(5, len({item for _, item, _ in rows}))}


@pytest.mark.parametrize("value", [-2.5, 0.0])
def test_all_ratings_equal(spark: SparkSession, value: float) -> None:
    data = frame(spark, [(user, item, value) for user, item, _ in ROWS])
    strangers = frame(spark, [(99, 99, 0.0)])
    model = als(validationIndicatorCol="held").fit(data.withColumn("held", F.col("user") == 3))
    assert predictions(model, data) == [value] * 5
    assert predictions(model, strangers) == [value]


def test_implicit_ratings_that_are_all_zero_say_which_lambda_is_zero(spark: SparkSession) -> None:
    data = frame(spark, [(user, item, 0.0) for user, item, _ in ROWS])
    with pytest.raises(FitError, match=r"no unique solution: .*of implicit ones by those above 0: constant does not"):
        als(implicitPrefs=True).fit(data)
    constant = als(implicitPrefs=True, regModeUser="constant", regModeItem="constant")
    assert predictions(constant.fit(data), data) == [0.0] * 5


def test_ids_at_the_ends_of_their_type(spark: SparkSession) -> None:
    ids = {1: -(2**63), 2: 2**63 - 1, 3: -1, 10: 2**63 - 1, 11: 0, 12: -(2**63)}
    data = frame(spark, [(ids[user], ids[item], rating) for user, item, rating in ROWS])
    model = als().fit(data)
    assert model.fitted.user.ids.to_pylist() == sorted(ids[user] for user in (1, 2, 3))
    small = als().fit(frame(spark))
    assert sorted(model.fitted.user.counts.tolist()) == sorted(small.fitted.user.counts.tolist())
    known = predictions(model, data)
    assert known[3] == max(known)
    assert known[4] == min(known)
    near = frame(spark, [(2**63 - 2, 2**63 - 1, 0.0)])  # float64 cannot tell it from user 2
    assert predictions(model, near)[0] != known[2]
    kept = {row.user: row.recommendations[0].item for row in model.recommendForAllUsers(1).collect()}
    assert set(kept) == {ids[1], ids[2], ids[3]}
    assert set(kept.values()) <= {ids[10], ids[11], ids[12]}


def test_ids_of_any_characters_are_told_apart_and_come_back(spark: SparkSession) -> None:
    users = ["\u00fc", "u\u0308", "", " ", "a\x00b", "a", "\U0001f600", "x" * 100_000, "'; DROP", '"\n\t\\']
    data = frame(
        spark,
        [(user, f"фильм {place % 3}", float(place % 5)) for place, user in enumerate(users)],
        RATINGS.replace("long", "string"),
    )
    model = als().fit(data)
    assert sorted(model.fitted.user.ids.to_pylist()) == sorted(users)
    assert {row.user for row in model.recommendForAllUsers(1).collect()} == set(users)
    assert np.isfinite(predictions(model, data)).all()


def test_weights_that_are_none(spark: SparkSession) -> None:
    with pytest.raises(DataError) as caught:
        als(weightCol="w").fit(weighted(spark, -1.0, INF, NAN, None, 1e39))
    for what in ("null or NaN weights in 2", "infinite weights in 2", "negative weights in 1"):
        assert f"column 'w' holds {what} row(s); the first: [{{'user': " in str(caught.value)


def test_a_weight_of_zero_is_no_rating_and_weights_have_no_unit_without_regularisation(spark: SparkSession) -> None:
    some = als(weightCol="w").fit(weighted(spark, 1.0, 1.0, 1.0, 0.0, 1.0))
    without = als().fit(frame(spark, [row for row in ROWS if row[1] != 12]))
    assert some.fitted.user.factors.tobytes() == without.fitted.user.factors.tobytes()
    largest = als(weightCol="w", maxIter=10).fit(weighted(spark, *[1e30] * 5))
    found = predictions(largest, frame(spark))
    assert np.abs(np.array(found) - [rating for *_, rating in ROWS]).max() < 0.2  # λ_b is nothing beside such weights


def test_ratings_too_large_for_sums_are_refused(spark: SparkSession) -> None:
    data = frame(spark).withColumn("rating", F.col("rating") * 1e18)
    with pytest.raises(FitError, match=r"ratings up to 5e\+18 are too large for the mean of 5 of them to be exact"):
        als().fit(data)


def test_feature_rows_are_judged_alike_in_a_task_on_stages_and_by_fold_in(spark: SparkSession) -> None:
    bad = frame(spark, [(10, [0], [NAN])], FEATURES)
    for execution in ("task", "stages"):
        with pytest.raises(DataError, match=r"item features hold values that .*: item \[10\]\. Drop or mend them"):
            als(execution=execution).setItemFeatures(bad, COLUMNS).fit(frame(spark))
    model = als().setItemFeatures(frame(spark, [(10, [0], [1.0])], FEATURES), COLUMNS).fit(frame(spark))
    with pytest.raises(DataError, match="item features hold values that are null, NaN"):
        model.withItemFeatures(bad)
    twins = frame(spark, [(10, [0], [1.0]), (11, [0], [1.0]), (10, [1], [1.0])], FEATURES)
    with pytest.raises(DataError, match="feature rows name item 10 more than once"):
        als().setItemFeatures(twins, COLUMNS).fit(frame(spark))


@pytest.mark.parametrize(
    ("ddl", "row", "words"),
    [
        ("id long, indices array<int>", (10, [0]), "no column 'values' .* in the data, which have id, indices"),
        ("id long, indices string, values array<double>", (10, "0", [1.0]), "column 'indices' of the item features is"),
        ("id string, indices array<int>, values array<double>", ("10", [0], [1.0]),
         "ids of the item features, column 'id', are string, but the item ids of the ratings are numbers"),
    ],
)  # fmt: skip
def test_feature_tables_of_another_kind(spark: SparkSession, ddl: str, row: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        als().setItemFeatures(frame(spark, [row], ddl), COLUMNS).fit(frame(spark))


def test_constant_features_and_features_of_unknown_items(spark: SparkSession) -> None:
    data = frame(spark)
    constant = frame(spark, [(item, [0], [1.0]) for item in (10, 11, 12)], FEATURES)
    model = als().setItemFeatures(constant, COLUMNS[:1]).fit(data)
    without = als().fit(data)
    assert np.allclose(predictions(model, data), predictions(without, data), atol=0.2)
    unknown = frame(spark, [(12, [0], [1.0]), (99, [0], [1.0]), (98, None, None)], FEATURES)
    model = als(userBias="none").setItemFeatures(unknown, COLUMNS).fit(data)
    rated, cold, bare = (predictions(model, frame(spark, [(7, item, 0.0)]))[0] for item in (12, 99, 98))
    assert bare == pytest.approx(3.0)  # the mean: nothing is known of item 98, and nobody of user 7
    assert bare < cold < rated  # item 12 alone has the feature, and is rated well


def test_features_of_runaway_size_are_refused(spark: SparkSession) -> None:
    rows = frame(spark, [(10, [0], [1e38]), (11, [1], [1e-30])], FEATURES)
    with pytest.raises(FitError, match=r"projection of features cannot be solved for .*: raise reg_features"):
        als().setItemFeatures(rows, COLUMNS).fit(frame(spark))


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["broadcast", "shuffle"])
def test_a_user_with_a_million_ratings(spark: SparkSession, tmp_path: Path, exchange: str) -> None:
    n = 10**6
    taste = ((F.col("item") % 7).cast("double") + (F.col("user") % 3) - 4.0) / 4
    one = spark.range(n).select(F.lit(0).cast("long").alias("user"), F.col("id").alias("item"))
    others = spark.range(3 * n).select((1 + F.col("id") % 5000).alias("user"), (F.col("id") * 7919 % n).alias("item"))
    ratings = one.unionByName(others).withColumn("rating", taste).persist()
    params = {"rank": 4, "execution": "stages", "exchange": exchange, "checkpointDir": str(tmp_path / "fit")}
    model = als(regModeUser="constant", regModeItem="constant", regParam=0.1, **params).fit(ratings)
    rows = model.userFactors.where("id = 0").collect()
    assert len(rows) == 1
    his = ratings.where("user = 0")
    error = model.transform(his).select(F.sqrt(F.avg((F.col("prediction") - F.col("rating")) ** 2))).first()[0]
    spread = his.select(F.stddev("rating")).first()[0]
    assert error < 0.3 * spread
    new = spark.createDataFrame([(n + 1, 1.0)], "item long, rating double").select(
        F.lit(1).cast("long").alias("user"), "*"
    )
    wider = als(regModeUser="constant", regModeItem="constant", regParam=0.1, **params).fit(ratings.unionByName(new))
    (offered,) = wider.recommendForUserSubset(his.select("user").distinct(), 3, excludeSeen=his).collect()
    assert [row.item for row in offered.recommendations] == [n + 1]
    ratings.unpersist()
