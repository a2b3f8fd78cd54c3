"""What BlockALS says of ratings that it cannot use: the column, what is wrong, and the first such rows."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from leaks import persisted
from recsys_spark import BlockALS
from recsys_spark.errors import ConfigError, DataError

ROWS = [(1, 10, 4.0), (1, 11, 2.0), (2, 10, 3.0), (2, 12, 5.0), (3, 11, 1.0)]
COLUMNS = "u.id double, film double, stars double, w double".replace("u.id", "`u.id`")


def als(**params) -> BlockALS:
    return BlockALS(rank=1, maxIter=1, userCol="u.id", itemCol="film", ratingCol="stars", **params)


def frame(spark: SparkSession, *more):
    return spark.createDataFrame([(float(u), float(i), r, 1.0) for u, i, r in ROWS] + list(more), COLUMNS)


def test_whole_floats_and_decimals_are_ids(spark: SparkSession) -> None:
    model = als().fit(frame(spark))
    assert model.fitted.user.ids.to_pylist() == [1, 2, 3]
    assert model.fitted.item.ids.to_pylist() == [10, 11, 12]
    decimals = frame(spark).withColumn("film", F.col("film").cast("decimal(20,2)"))
    assert als().fit(decimals).fitted.item.factors.tobytes() == model.fitted.item.factors.tobytes()
    scored = model.transform(frame(spark, (1.5, 10.0, 3.0, 1.0), (float("nan"), 10.0, 3.0, 1.0)))
    assert [row.prediction == row.prediction for row in scored.collect()] == [True] * 5 + [False] * 2


def test_offenders_are_named_by_column_with_their_rows(spark: SparkSession) -> None:
    bad = [(1.5, 10.0, 3.0, 1.0), (2.0, None, 3.0, 1.0), (2.0, 11.0, float("nan"), 1.0), (3.0, 10.0, None, 1.0),
           (3.0, 10.0, 1e300, 1.0), (1e300, 10.0, 3.0, 1.0), (3.0, 12.0, 1.0, -1.0)]  # fmt: skip
    with pytest.raises(DataError) as caught:
        als(weightCol="w").fit(frame(spark, *bad))
    words = str(caught.value)
    for expected in (
        "column 'u.id' holds user ids that are not whole in 2 row(s); the first: [{'u.id': 1.5, 'film': 10.0, 'stars'",
        "column 'film' holds null ids in 1 row(s); the first: [{'u.id': 2.0, 'film': None",
        "column 'stars' holds null or NaN ratings in 2 row(s); the first: [{'u.id': 2.0, 'film': 11.0, 'stars': nan",
        "column 'stars' holds infinite ratings in 1 row(s)",
        "column 'w' holds negative weights in 1 row(s); the first: [{'u.id': 3.0, 'film': 12.0, 'stars': 1.0",
        "Drop or mend them",
    ):
        assert expected in words, words
    with pytest.raises(DataError, match="column 'stars' holds null or NaN ratings in 1 row"):
        als().fit(frame(spark, (1.0, 10.0, None, 1.0)))


def test_columns_that_are_missing_or_of_no_use(spark: SparkSession) -> None:
    good = frame(spark)
    with pytest.raises(
        DataError, match=r"no column 'film' \(of the item\), 'stars' \(of the rating\) in the data, which"
    ):
        als().fit(good.drop("film", "stars"))
    with pytest.raises(
        DataError, match="column 'film' is date: item ids are integers, strings, or numbers that are whole"
    ):
        als().fit(good.withColumn("film", F.current_date()))
    with pytest.raises(DataError, match="column 'stars' is string: a rating is a number; cast it first"):
        als().fit(good.withColumn("stars", F.lit("five")))
    with pytest.raises(ConfigError, match="must be at least 0, found -1 and 0"):
        als(numUserBlocks=-1).fit(good)


def test_without_a_rating_column_every_rating_is_one(spark: SparkSession) -> None:
    given = frame(spark)
    ones = als(implicitPrefs=True).fit(given.withColumn("stars", F.lit(1.0)))
    none = als(implicitPrefs=True).setRatingCol("").fit(given.drop("stars"))
    assert none.fitted.user.factors.tobytes() == ones.fitted.user.factors.tobytes()


def test_a_spark_connect_session_gets_a_sentence(spark: SparkSession) -> None:
    remote = type("DataFrame", (), {"__module__": "pyspark.sql.connect.dataframe"})()
    with pytest.raises(DataError, match="works on RDDs, which a Spark Connect session does not have: use a classic"):
        als().fit(remote)
    with pytest.raises(DataError, match="Spark Connect"):
        als().fit(frame(spark)).transform(remote)


@pytest.mark.parametrize("execution", ["task", "stages"])
def test_a_failed_fit_leaves_nothing_behind(spark: SparkSession, execution: str) -> None:
    before, settings = persisted(spark), dict(spark.conf.getAll)
    with pytest.raises(Exception, match="reg"):
        als(regParam=0.0, regUserBias=0.0, regItemBias=0.0, execution=execution).fit(frame(spark))
    with pytest.raises(DataError):
        als().fit(frame(spark, (None, 1.0, 1.0, 1.0)))
    assert persisted(spark) <= before
    assert dict(spark.conf.getAll) == settings
