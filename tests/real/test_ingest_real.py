"""Real titles, genres and ratings: what the rules make of every one of them."""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from recsys_spark import lake
from recsys_spark.ingest.job import run
from recsys_spark.ingest.parse import parse_genres, parse_year
from tests.ingest_factory import ingest_settings

pytestmark = pytest.mark.real

KNOWN_GENRES = {
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
}
STRICT = re.compile(r"\(([0-9]{4})\)$")


@pytest.fixture(scope="module")
def films(real_data: Path) -> list[tuple[str, str]]:
    """Title and genres of all films of ml-32m."""
    path = real_data / "ml-32m" / "movies.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["title"], row["genres"]) for row in csv.DictReader(file)]


def test_all_real_years(films: list[tuple[str, str]]) -> None:
    titles = [title for title, _ in films]
    assert len(titles) == 87_585
    years = {title: parse_year(title) for title in titles}
    plain = {title: int(match[1]) for title in titles if (match := STRICT.search(title.strip()))}
    assert sum(STRICT.search(title) is None for title in titles) == 771
    assert sum(title not in plain for title in titles) == 617
    assert {title: years[title] for title in plain} == plain
    assert {title: year for title, year in years.items() if title not in plain and year is not None} == {
        "Mona and the Time of Burning Love (Mona ja palavan rakkauden aika) (1983))": 1983,
        "The Naked Truth (1957) (Your Past Is Showing)": 1957,
        "Death Note: Desu nôto (2006–2007)": 2007,
    }
    assert sum(years[title] is None for title in titles) == 614
    counts = Counter(years[title] for title in titles)
    known = [year for year in counts if year is not None]
    assert (min(known), max(known), counts[2023]) == (1874, 2023, 952)


def test_a_number_at_the_end_without_parentheses_is_mostly_no_year(films: list[tuple[str, str]]) -> None:
    ends = [re.search(r"\b((?:18|19|20)[0-9]{2})\s*\(([0-9]{4})\)$", title.strip()) for title, _ in films]
    same = Counter(match[1] == match[2] for match in ends if match)
    assert same == {False: 142, True: 59}


def test_all_real_genres(films: list[tuple[str, str]]) -> None:
    parsed = [(text, parse_genres(text)) for _, text in films]
    assert {genre for _, genres in parsed for genre in genres} == KNOWN_GENRES
    assert sum(not genres for _, genres in parsed) == 7_080
    assert all("|".join(genres) == text for text, genres in parsed if genres)
    assert {text for text, genres in parsed if not genres} == {"(no genres listed)"}


def test_ml_latest_small_is_ingested_whole(spark: SparkSession, real_data: Path, tmp_path: Path) -> None:
    result = run(spark, ingest_settings(tmp_path, real_data / "ml-latest-small"), argparse.Namespace())
    expected = {
        "rows_read": 100_836, "ratings": 100_836, "rejected": 0, "duplicates": 0, "users": 610, "items": 9_724,
        "movies": 9_742, "movies_without_year": 12, "movies_without_genres": 34, "ratings_of_unlisted_movies": 0,
    }  # fmt: skip
    assert {name: result.metrics[name] for name in expected} == expected
    assert result.metrics["rating_mean"] == pytest.approx(3.501557, abs=1e-6)
    ratings = lake.read_table(spark, result.outputs["ingest"], "ratings")
    first = ratings.where("user = 1 AND item = 1").first()
    assert first is not None
    assert (first.rating, first.timestamp.isoformat()) == (4.0, "2000-07-30T18:45:03")


def test_spark_reads_all_films_of_ml_32m_as_the_csv_module_does(
    spark: SparkSession, films: list[tuple[str, str]], real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "movies.csv").symlink_to(real_data / "ml-32m" / "movies.csv")
    (tmp_path / "data" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    result = run(spark, ingest_settings(tmp_path, tmp_path / "data"), argparse.Namespace())
    movies = lake.read_table(spark, result.outputs["ingest"], "movies").select("title", "year", "genres").collect()
    assert Counter((title, year, tuple(genres)) for title, year, genres in movies) == Counter(
        (title, parse_year(title), tuple(parse_genres(genres))) for title, genres in films
    )
    assert (result.metrics["movies_without_year"], result.metrics["movies_without_genres"]) == (614, 7_080)
