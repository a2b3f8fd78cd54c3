"""What BlockALSModel has beyond ALSModel: folding in, rows from features, similar rows, explanations, a summary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from foldin_case import FORMS, fitted
from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.als.foldin import fold_in
from recsys_spark.als.similar import Neighbours
from recsys_spark.errors import ConfigError, DataError

P, FITTED = fitted(FORMS["learned"])


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> BlockALSModel:
    return BlockALSModel(FITTED).setItemCol("film")._set(ratingCol="stars")


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    named = P.ratings.select(["user", "item", "rating"]).rename_columns(["user", "film", "stars"])
    return spark.createDataFrame(named)


@pytest.fixture(scope="module")
def people(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(P.user_features)


@pytest.fixture(scope="module")
def films(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(P.item_features)


def test_training_users_come_back_bit_for_bit(model: BlockALSModel, ratings: DataFrame, people: DataFrame) -> None:
    folded = model.foldInUsers(ratings.repartition(3), people)
    assert folded is not model
    assert folded.uid == model.uid
    for name in ("factors", "biases", "counts"):
        assert getattr(folded.fitted.user, name).tobytes() == getattr(FITTED.user, name).tobytes()
    assert folded.fitted.item is FITTED.item


def test_newcomers_get_rows_and_all_others_keep_theirs(
    model: BlockALSModel, ratings: DataFrame, people: DataFrame, spark: SparkSession
) -> None:
    first = P.ratings["user"][0].as_py()
    theirs = ratings.where(F.col("user") == first).withColumn("user", F.lit(-1).cast("long"))
    traits = people.where(F.col("id") == first).withColumn("id", F.lit(-1).cast("long"))
    folded = model.foldInUsers(theirs, traits.unionAll(people))
    assert folded.fitted.user.ids.to_pylist() == [-1, *FITTED.user.ids.to_pylist()]
    assert folded.fitted.user.factors[1:].tobytes() == FITTED.user.factors.tobytes()
    scored = folded.transform(theirs).select("prediction").toArrow()["prediction"].to_pylist()
    known = model.transform(ratings.where(F.col("user") == first)).select("prediction").toArrow()["prediction"]
    assert sorted(scored) == sorted(known.to_pylist())
    strangers = ratings.withColumn("film", F.lit(-9)).limit(1).withColumn("user", F.lit(-2))
    alone = folded.foldInUsers(strangers).fitted.user
    assert (alone.ids[0].as_py(), alone.counts[0]) == (-2, 0.0)
    assert not alone.factors[0].any()


def test_items_fold_in_the_same_way(model: BlockALSModel, ratings: DataFrame, films: DataFrame, tmp_path: Path) -> None:
    folded = model.foldInItems(ratings, films)
    near = np.abs(folded.fitted.item.factors - FITTED.item.factors).max()
    assert 0 < near < np.abs(FITTED.item.factors).max()
    folded.save(str(tmp_path / "folded"))
    assert BlockALSModel.load(str(tmp_path / "folded")).fitted.item.factors.tobytes() == (
        folded.fitted.item.factors.tobytes()
    )


def test_items_of_features_alone_are_known_from_then_on(
    model: BlockALSModel, ratings: DataFrame, films: DataFrame
) -> None:
    one = films.where(F.size("indices") > 0).limit(1)
    newcomer = one.withColumn("id", F.lit(-3).cast("long"))
    larger = model.withItemFeatures(newcomer.unionAll(films))
    assert larger.fitted.item.ids.to_pylist() == [-3, *FITTED.item.ids.to_pylist()]
    assert larger.fitted.item.factors[1:].tobytes() == FITTED.item.factors.tobytes()
    test = ratings.limit(1).withColumn("film", F.lit(-3))
    assert np.isnan(model.transform(test).first()["prediction"])
    found = larger.transform(test).first()["prediction"]
    row = fold_in(FITTED, 1, P.ratings.slice(0, 0).select(["item", "user", "rating"]).rename_columns(
        ["id", "other", "rating"]), newcomer.toArrow())  # fmt: skip
    user = int(FITTED.user.index(pa.array([test.first()["user"]]))[0])
    score = FITTED.mu + FITTED.user.biases[user] + row.biases[0] + FITTED.user.factors[user] @ row.factors[0]
    assert found == pytest.approx(np.clip(score, *FITTED.clip), abs=1e-5)


def test_string_ids_fold_in_too(spark: SparkSession, ratings: DataFrame) -> None:
    named = ratings.select(F.concat(F.lit("ü"), "user").alias("user"), F.col("film").cast("string"), "stars")
    model = BlockALS(rank=2, maxIter=2, itemCol="film", ratingCol="stars").fit(named)
    folded = model.foldInUsers(named)
    assert folded.fitted.user.factors.tobytes() == model.fitted.user.factors.tobytes()
    similar = model.similarUsers([named.first()["user"]], 2).first()
    assert similar["user"] == named.first()["user"]
    assert [type(s["user"]) for s in similar["similar"]] == [str, str]


def test_ratings_that_cannot_be_folded_in(model: BlockALSModel, ratings: DataFrame, people: DataFrame) -> None:
    broken = ratings.withColumn("stars", F.when(F.col("user") > 5000, F.col("stars")))
    with pytest.raises(DataError, match="column 'stars' holds null or NaN ratings in .*; the first: "):
        model.foldInUsers(broken)
    with pytest.raises(DataError, match=r"no column 'film' \(of the item\)"):
        model.foldInUsers(ratings.drop("film"))
    wide = people.withColumn("indices", F.transform("indices", lambda i: i + 7))
    with pytest.raises(DataError, match=r"user features hold indices that are no feature column \(0 to 1\)"):
        model.foldInUsers(ratings, wide)
    with pytest.raises(DataError, match="user column 'user' is string, but the model's user ids are int64"):
        model.foldInUsers(ratings.withColumn("user", F.col("user").cast("string")))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "pearson"])
def test_similar_items(model: BlockALSModel, ratings: DataFrame, metric: str) -> None:
    value = "distance" if metric == "euclidean" else "similarity"
    found = model.similarItems(ratings.select("film").repartition(3), 3, metric=metric)
    assert found.schema.simpleString() == f"struct<film:bigint,similar:array<struct<film:bigint,{value}:float>>>"
    rows = {row["film"]: [tuple(s) for s in row["similar"]] for row in found.collect()}
    assert sorted(rows) == FITTED.item.ids.to_pylist()
    near, values = Neighbours(FITTED.item, metric).of(np.arange(len(FITTED.item)), 3)
    for at, film in enumerate(FITTED.item.ids.to_pylist()):
        assert [n for n, _ in rows[film]] == [FITTED.item.ids[r].as_py() for r in near[at]]
        assert [v for _, v in rows[film]] == values[at].tolist()
    assert model.similarItems([-1, film], 1, metric).count() == 1
    with pytest.raises(ConfigError, match="n must be at least 1, found 0"):
        model.similarItems([film], 0)
    with pytest.raises(ConfigError, match="no metric 'manhattan'"):
        model.similarItems([film], 1, "manhattan")


def test_an_explanation_adds_up_to_the_score(model: BlockALSModel, ratings: DataFrame, people: DataFrame) -> None:
    user, film, _ = ratings.first()
    raw = model.copy()._set(clipPredictions=False)
    score = raw.transform(ratings.limit(1)).first()["prediction"]
    told = model.explain(user, film, ratings, people)
    assert told.columns == ["term", "id", "name", "contribution"]
    lines = told.collect()
    assert sum(line["contribution"] for line in lines) == pytest.approx(score, abs=1e-4)
    assert [line["term"] for line in lines[:3]] == ["mean", "user bias", "item bias"]
    assert {line["term"] for line in lines[3:]} <= {"rating", "feature"}
    sizes = [abs(line["contribution"]) for line in lines[3:]]
    assert sizes == sorted(sizes, reverse=True)
    seen = {row["film"] for row in ratings.where(F.col("user") == user).collect()}
    assert {line["id"] for line in lines if line["term"] == "rating"} == seen
    stranger = model.explain(-1, film, ratings).collect()
    assert [line["contribution"] for line in stranger] == pytest.approx(
        [FITTED.mu, 0.0, float(FITTED.item.biases[FITTED.item.index(pa.array([film]))[0]])]
    )
    with pytest.raises(DataError, match="the model does not know the item -1"):
        model.explain(user, -1, ratings)


def test_a_summary_of_the_fit(model: BlockALSModel, tmp_path: Path) -> None:
    assert model.hasSummary
    summary = model.summary
    assert summary.totalIterations == summary.bestIteration == 3
    assert summary.stopReason == "all 3 iterations done"
    assert summary.objectiveHistory == FITTED.history["objective"].to_pylist()
    assert len(summary.trainRmseHistory) == len(summary.validationRmseHistory) == 3
    assert summary.seconds == pytest.approx(sum(FITTED.history["seconds"].to_pylist()))
    assert summary.iterations.columns == FITTED.history.column_names
    assert "totalIterations=3" in repr(summary)
