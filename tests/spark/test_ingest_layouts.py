"""Finding and reading releases: every layout, part files, byte order marks, and files that are something else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from recsys_spark.errors import DataError
from recsys_spark.ingest import entities
from recsys_spark.ingest.ratings import parse_ratings
from recsys_spark.ingest.raw import RawRelease, find_release, read_lines
from recsys_spark.ingest.releases import HALF_STARS, WHOLE_STARS, scale_of
from tests.ingest_factory import MOVIES_HEADER, RATINGS_HEADER, movie_lines, write_csv

FLAGS = "|".join("1" if column == 5 else "0" for column in range(19))
OLD_LAYOUTS: dict[str, dict[str, bytes]] = {
    "ml-1m": {
        "ratings.dat": b"1::1193::5::978300760\n2::661::3::978302109\n2::661::3.5::978302109\n",
        "movies.dat": "1193::Misérables, Les (1995)::Drama|Children's\n661::Alien (1979)::Horror\n".encode("latin-1"),
        "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072-1234\n",
    },
    "ml-10m": {
        "ratings.dat": b"1::1193::5::838985046\n2::661::3.5::838983525\n2::661::3.7::978302109\n",
        "movies.dat": "1193::Misérables, Les (1995)::Drama|Children's\n661::Alien (1979)::Horror\n".encode(),
    },
    "ml-100k": {
        "u.data": b"1\t1193\t5\t881250949\n2\t661\t3\t891717742\n2\t661\t3.5\t978302109\n",
        "u.item": f"1193|Misérables, Les (1995)|01-Jan-1995||http://x|{FLAGS}\n".encode("latin-1")
        + f"661|Alien (1979)|01-Jan-1979||http://x|{FLAGS}\n".encode(),
        "u.user": b"1|7|F|student|48067\n2|61|M|other|T8H1N\n",
    },
}


def write(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def good_ratings(spark: SparkSession, release: RawRelease) -> list[tuple[Any, ...]]:
    scale = scale_of(release.layout, release.users is not None)
    parsed = parse_ratings(read_lines(spark, release.ratings), release.ratings, scale)
    return sorted((r.user, r.item, r.rating, r.timestamp.timestamp()) for r in parsed.where("reason IS NULL").collect())


def good(parse: Callable[..., DataFrame], spark: SparkSession, table: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in entities.accepted(parse(read_lines(spark, table), table, 1)).collect())


@pytest.mark.parametrize("name", OLD_LAYOUTS)
def test_old_layouts(spark: SparkSession, tmp_path: Path, name: str) -> None:
    release = find_release(spark, write(tmp_path / name, OLD_LAYOUTS[name]))
    found = good_ratings(spark, release)
    assert [row[:3] for row in found] == [(1, 1193, 5.0), (2, 661, 3.5 if name == "ml-10m" else 3.0)]
    assert scale_of(release.layout, release.users is not None) == (HALF_STARS if name == "ml-10m" else WHOLE_STARS)
    movies = good(entities.parse_movies, spark, release.movies)
    assert [row[:3] for row in movies] == [(661, "Alien (1979)", 1979), (1193, "Misérables, Les (1995)", 1995)]
    assert movies[1][3] == (["Comedy"] if name == "ml-100k" else ["Drama", "Children's"])
    if release.users is None:
        assert name == "ml-10m"
    else:
        users = good(entities.parse_users, spark, release.users)
        assert users == [
            (1, "F", "under 18", "student (K-12)" if name == "ml-1m" else "student", "4"),
            (2, "M", "56+", "self-employed" if name == "ml-1m" else "other", "7" if name == "ml-1m" else None),
        ]


def test_parts_with_headers_marks_and_mixed_line_ends_in_an_awkward_folder(spark: SparkSession, tmp_path: Path) -> None:
    header = RATINGS_HEADER.encode()
    folder = write(
        tmp_path / "my [data] {1}, 50% *",
        {
            "ratings/part-0.csv": b"\xef\xbb\xbf" + header + b"\r\n1,1,4.0,10\r\n1,2,3.0,11\n",
            "ratings/part-1.csv": header + b'\n"2","1","5.0","12"\n2, 2 ,.5,13',
            "ratings/part-2.csv": header + b"\n",
            "ratings/part-3.csv": b"",
            "ratings/_SUCCESS": b"",
            "ratings/.part-0.csv.crc": b"crc",
            "movies.csv": (MOVIES_HEADER + "\n" + "\n".join(movie_lines(2))).encode(),
        },
    )
    release = find_release(spark, folder + "/")
    assert len(release.ratings.files) == 3
    assert good_ratings(spark, release) == [(1, 1, 4.0, 10.0), (1, 2, 3.0, 11.0), (2, 1, 5.0, 12.0), (2, 2, 0.5, 13.0)]
    assert read_lines(spark, release.ratings).count() == 4


def test_columns_are_found_by_name_and_others_are_ignored(spark: SparkSession, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "ratings.csv": b'Timestamp,note,"rating",MOVIEID,userId\n10,ab\xff,4.0,7,1\n11,x,3.5,8\n',
            "movies.csv": b"title,movieId,genres\nA (1999),7,Drama\n",
            "users.csv": b"userId,source,row\n1,SE,\n2,DE,30-40\n",
        },
    )
    release = find_release(spark, folder)
    assert good_ratings(spark, release) == [(1, 7, 4.0, 10.0)]
    assert good(entities.parse_movies, spark, release.movies) == [(7, "A (1999)", 1999, ["Drama"])]
    assert release.users is not None
    users = entities.accepted(entities.parse_users(read_lines(spark, release.users), release.users, 1))
    assert users.columns == ["user", "source", "row"]
    assert sorted(map(tuple, users.collect())) == [(1, "SE", None), (2, "DE", "30-40")]


def test_duplicates_come_in_the_order_of_the_file(spark: SparkSession, tmp_path: Path) -> None:
    lines = [f"{row % 100},Copy {row // 100:02d},Drama" for row in range(2000)]
    release = find_release(spark, str(write_csv(tmp_path, ["1,1,1,1"], lines)))
    raw = read_lines(spark, release.movies).repartition(7)
    parsed = entities.parse_movies(raw, release.movies, 3)
    assert {row.title for row in entities.accepted(parsed).collect()} == {"Copy 00"}
    assert entities.rejected(parsed).where("reason = 'duplicate movie id'").count() == 1900


def test_an_attribute_of_users_may_not_be_called_as_the_key(spark: SparkSession, tmp_path: Path) -> None:
    release = find_release(spark, write(tmp_path, GOOD | {"users.csv": b"userId,User\n1,x\n"}))
    assert release.users is not None
    with pytest.raises(DataError, match=r"users\.csv has the columns userId and user: rename the second"):
        entities.parse_users(read_lines(spark, release.users), release.users, 1)


GOOD = {"ratings.csv": f"{RATINGS_HEADER}\n1,1,4,10\n".encode(), "movies.csv": f"{MOVIES_HEADER}\n1,A,B\n".encode()}
OLD = OLD_LAYOUTS["ml-1m"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no such folder, or nothing in it: .*expected ratings.csv and movies.csv, or ratings.dat and movies.dat"),
        ({"notes.txt": b"x"}, r"no ratings in .*: expected ratings.csv and movies.csv, .*; found: notes.txt"),
        ({"ratings.csv": GOOD["ratings.csv"]}, r"no movies.csv beside the ratings in .*; found: ratings.csv"),
        (GOOD | {"ratings.csv": b""}, "ratings.csv is empty: expected ratings"),
        (GOOD | {"ratings.csv": b"userId,movieId,timestamp\n1,1,10\n"},
         "ratings.csv lacks the column rating: expected ratings with the header userId,movieId,rating,timestamp, found "
         "'userId,movieId,timestamp'"),
        (GOOD | {"ratings.csv": b"1,1,4.0,10\n"},
         "ratings.csv lacks the columns userId, movieId, rating, timestamp.* found '1,1,4.0,10'"),
        (GOOD | {"movies.csv": GOOD["ratings.csv"]},
         "movies.csv lacks the columns title, genres: expected movies .*; it looks like ratings"),
        (GOOD | {"ratings.csv": GOOD["movies.csv"]}, "ratings.csv lacks .*; it looks like movies"),
        (GOOD | {"ratings.csv": b"userId,movieId,tag,timestamp\n"}, "it looks like tags"),
        (GOOD | {"movies.csv": b"userId,age\n"}, "it looks like users"),
        (GOOD | {"ratings.csv": b"userId,movieId,rating,timestamp,Rating\n"}, "names the column rating twice"),
        ({"ratings/a.csv": GOOD["ratings.csv"], "ratings/b.csv": b"movieId,userId,rating,timestamp\n1,1,1,1\n",
          "movies.csv": GOOD["movies.csv"]},
         "ratings/b.csv has the columns movieId, userId, rating, timestamp; .*a.csv has userId, movieId"),
        (OLD | {"movies.dat": OLD["ratings.dat"]}, "movies.dat looks like ratings, expected movies; .*'1::1193::5::"),
        (OLD | {"ratings.dat": OLD["movies.dat"]}, "ratings.dat looks like movies, expected ratings"),
        (OLD | {"users.dat": b""}, "users.dat is empty: expected users"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be(
    spark: SparkSession, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    folder = write(tmp_path / "data", files)
    with pytest.raises(DataError, match=re.compile(message)):
        find_release(spark, folder)
