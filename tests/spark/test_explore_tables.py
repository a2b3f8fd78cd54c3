"""Ratings as small tables and lists, on data that can be counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from recsys_spark.config import load_settings
from recsys_spark.errors import NotPublishedError
from recsys_spark.explore import Results, lists, tables

RATED = [
    # user 1 rates films 10, 11 and 12, user 2 films 10 and 11, user 3 film 10
    (1, 10, 4.0, "1996-03-01 00:00:00"),
    (1, 11, 2.0, "1996-03-31 23:59:59"),
    (1, 12, 5.0, "1996-05-01 00:00:00"),
    (2, 10, 3.0, "1996-05-02 00:00:00"),
    (2, 11, 3.0, "1996-05-03 00:00:00"),
    (3, 10, 1.0, "1996-05-04 00:00:00"),
]


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    rows = spark.createDataFrame(RATED, "user long, item long, rating float, at string")
    return rows.selectExpr("user", "item", "rating", "cast(at as timestamp) as timestamp").cache()


@pytest.fixture(scope="module")
def movies(spark: SparkSession) -> DataFrame:
    rows = [(10, "Ten", ["Drama"]), (11, "Eleven", ["Drama", "War"]), (12, "Twelve", ["War"]), (13, "None", ["War"])]
    return spark.createDataFrame(rows, "item long, title string, genres array<string>").cache()


def test_a_tail_counts_ids_with_so_many_or_more(ratings: DataFrame) -> None:
    assert tables.tail(ratings, "item").to_dict("list") == {"n": [1, 2, 3], "ids": [3, 2, 1]}


def test_density_is_full_in_the_corner_of_the_busiest(ratings: DataFrame) -> None:
    assert tables.density(ratings, 3).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert tables.density(ratings, 1).tolist() == [[pytest.approx(6 / 9)]]
    assert tables.density(ratings, 2).shape == (2, 2)
    assert tables.density(ratings, 2)[0, 0] == 1.0


def test_growth_by_month(ratings: DataFrame) -> None:
    found = tables.growth(ratings)
    assert found["month"].dt.strftime("%Y-%m").tolist() == ["1996-03", "1996-05"]
    assert found[["ratings", "users", "new_users"]].values.tolist() == [[2, 1, 1], [4, 3, 2]]


def test_calibration_is_the_mean_rating_by_step(spark: SparkSession) -> None:
    rows = [(3.1, 3.0, 4.0), (2.9, 1.0, 4.0), (4.1, 5.0, 4.0)]
    frame = spark.createDataFrame(rows, "prediction double, rating double, biases double")
    found = tables.calibration(frame, ["prediction", "biases"])
    assert found["prediction"].to_dict("list") == {"prediction": [3.0, 4.0], "rating": [2.0, 5.0], "n": [2, 1]}
    assert found["biases"]["rating"].tolist() == [3.0]


def test_the_best_known_film_of_each_genre_each_once(ratings: DataFrame, movies: DataFrame) -> None:
    found = lists.best_known(ratings, movies, ["War", "Drama", "Western"])
    assert found.values.tolist() == [["War", 11, "Eleven"], ["Drama", 10, "Ten"]]
    assert lists.best_known(ratings, movies, ["Drama", "War"])["title"].tolist() == ["Ten", "Eleven"]


def test_worst_and_crowded(spark: SparkSession, movies: DataFrame) -> None:
    rows = [(1, 10, 5.0, 1.0, 3), (2, 11, 0.5, 3.5, 2), (3, 12, 3.0, 3.1, 0)]
    predictions = spark.createDataFrame(rows, "user long, item long, rating double, prediction double, train_count int")
    assert lists.worst(predictions, movies, 2)[["title", "error"]].values.tolist() == [["Ten", -4.0], ["Eleven", 3.0]]
    shown = lists.concentration(predictions.select("user", "item").union(predictions.select("user", "item")), movies, 1)
    assert shown[["title", "lists"]].values.tolist() == [["Ten", 2]]


def test_overlap_is_the_mean_over_pairs_of_newcomers() -> None:
    listed = {1.0: {"a": "xy", "b": "xy", "c": "xy"}, 0.0: {"a": "xy", "b": "xz", "c": "vw"}}
    rows = [(who, beta, at, t) for beta, of in listed.items() for who, own in of.items() for at, t in enumerate(own)]
    found = pd.DataFrame(rows, columns=["liked", "beta", "place", "title"])
    assert lists.overlap(found).to_dict() == {1.0: 1.0, 0.0: pytest.approx(0.5 / 3)}
    assert lists.side_by_side(found, 0.0)["b"].tolist() == ["x", "z"]


def test_results_name_the_job_that_has_not_run(spark: SparkSession, tmp_path) -> None:
    results = Results(spark, load_settings([], [], {"workdir": f"file:{tmp_path}", "dataset": "tiny"}))
    for ask, job in (("facts", "ingest"), ("model", "train"), ("metrics", "evaluate"), ("recommendations", "score")):
        with pytest.raises(NotPublishedError, match=f"run jobs/{job}.py first"):
            getattr(results, ask)
