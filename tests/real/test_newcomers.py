"""Newcomers and neighbours on all of ml-latest-small: what one liked film leads to, and which films are alike."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.config import GroupSpec, load_settings
from recsys_spark.features.encode import encode

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
STAR_WARS_IV, STAR_WARS_V, STAR_WARS_VI = 260, 1196, 1210
BETA = 0.08
LIKED = "userId long, movieId long, rating double"
GROUPS = [
    GroupSpec(name="genre", column="genres", kind="multi_hot", normalise="row_l1"),
    GroupSpec(name="year", column="year", kind="bins", width=5.0, normalise="row_l1"),
]


@pytest.fixture(scope="module")
def films(spark: SparkSession, real_data: Path) -> DataFrame:
    path = str(real_data / "ml-latest-small" / "movies.csv")
    table = spark.read.csv(path, header=True, inferSchema=True, quote='"', escape='"')
    year = F.regexp_extract("title", r"\((\d{4})\)", 1).try_cast("int")
    return table.select("movieId", F.split("genres", re.escape("|")).alias("genres"), year.alias("year")).cache()


@pytest.fixture(scope="module")
def ratings(spark: SparkSession, real_data: Path) -> DataFrame:
    return spark.read.csv(str(real_data / "ml-latest-small/ratings.csv"), header=True, inferSchema=True)


@pytest.fixture(scope="module")
def model(ratings: DataFrame, films: DataFrame) -> BlockALSModel:
    files = [ROOT / "conf/default.yaml", ROOT / "conf/ml-latest-small.yaml"]
    als = BlockALS.fromSettings(load_settings(files).train, userCol="userId", itemCol="movieId")
    return als.setItemFeatures(*encode(films, "movieId", GROUPS)).fit(ratings)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "pearson"])
def test_star_wars_is_like_star_wars(model: BlockALSModel, metric: str) -> None:
    similar = model.similarItems([STAR_WARS_V], 2, metric).first()["similar"]
    assert {s["movieId"] for s in similar} == {STAR_WARS_IV, STAR_WARS_VI}


def test_one_liked_film_leads_to_films_of_its_kind(
    spark: SparkSession, model: BlockALSModel, ratings: DataFrame, films: DataFrame
) -> None:
    """Of the 200 most rated films: each newcomer's list is nearer in genres to the film they liked than others' lists.

    With β below 1: by the score alone one film moves a newcomer's list hardly at all.
    """
    popular = ratings.groupBy("movieId").count().orderBy(F.desc("count"), "movieId").limit(200).collect()
    known = [row["movieId"] for row in popular]
    liked = spark.createDataFrame([(-1 - n, film, 5.0) for n, film in enumerate(known)], LIKED)
    genres = {row["movieId"]: set(row["genres"]) for row in films.collect()}

    def nearness(beta: float) -> np.ndarray:
        """Mean Jaccard similarity of genres, (film liked, whose list)."""
        folded = model.foldInUsers(liked)
        found = folded.recommendForUserSubset(liked, 5, excludeSeen=liked, itemBiasWeight=beta).collect()
        lists = {row["userId"]: [genres[r["movieId"]] for r in row["recommendations"]] for row in found}
        return np.array([[np.mean([jaccard(genres[f], g) for g in lists[-1 - n]]) for n in range(200)] for f in known])

    near, by_score = nearness(BETA), nearness(1.0)
    own, others = np.diag(near), (near.sum(axis=1) - np.diag(near)) / 199
    assert own.mean() > 2 * others.mean()
    assert np.mean(own > others) > 0.9
    assert np.diag(by_score).mean() < own.mean() / 2


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
