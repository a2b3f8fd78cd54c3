"""Damaged releases: every physical line is accepted, rejected with its reason, or a counted duplicate."""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import step_root
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.ingest.job import run
from recsys_spark.ingest.ratings import parse_ratings, rank_duplicates
from recsys_spark.ingest.raw import find_release, read_lines
from recsys_spark.ingest.releases import HALF_STARS, WHOLE_STARS, Scale
from tests.ingest_factory import RATINGS_HEADER, ingest_settings, movie_lines, rating_lines, write_csv

DAMAGE: dict[bytes, str] = {
    b"1,901": "truncated line",
    b"1,902,4.0": "truncated line",
    b"1,903,abc,946684800": "rating is not a number",
    b"1,904,4.0f,946684800": "rating is not a number",
    b"1,905,NaN,946684800": "rating is not a number",
    b"1,906,null,946684800": "rating is not a number",
    b"1,907,0x4,946684800": "rating is not a number",
    b"1,908,9,946684800": "rating off the scale",
    b"1,909,0,946684800": "rating off the scale",
    b"1,910,-1,946684800": "rating off the scale",
    b"1,911,3.7,946684800": "rating off the scale",
    b"1,912,,946684800": "empty rating",
    b",913,4.0,946684800": "empty user id",
    b"1,,4.0,946684800": "empty movie id",
    b"x,914,4.0,946684800": "bad user id",
    b"-1,915,4.0,946684800": "bad user id",
    b"9999999999999999999,916,4.0,946684800": "bad user id",
    b"1,9.5,4.0,946684800": "bad movie id",
    b"1,917,4.0,": "empty timestamp",
    b"1,918,4.0,yesterday": "bad timestamp",
    b"1,919,4.0,946684800000": "bad timestamp",
    b"1,920,4.0,-5": "bad timestamp",
    b"1,921,4.0,946684800,extra": "too many columns",
    b"1,922,4.0,946684800,": "too many columns",
    b'1,"923,4.0,946684800': "bad movie id",
    b"\x00\x07\xff\xfe\x89PNG\x1a": "binary garbage",
    b"1,924,\xc3\x28,946684800": "binary garbage",
    b"1,925,4.0,94668\x004800": "binary garbage",
    b"": "empty line",
    b"   ": "empty line",
}


def ingest(spark: SparkSession, tmp_path: Path, dataset: Path, *overrides: str) -> JobResult:
    return run(spark, ingest_settings(tmp_path, dataset, *overrides), argparse.Namespace())


def rows(spark: SparkSession, result: JobResult, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in lake.read_table(spark, result.outputs["ingest"], table).collect()]


def test_every_line_of_a_damaged_copy_is_accounted_for(spark: SparkSession, tmp_path: Path) -> None:
    good = [line.encode() for line in rating_lines(3000)]
    again = [b"1,1,5.0,2000000000", b"2,1,3.0,1"]  # a later and an earlier copy of ratings that are there
    lines = [*good, *again, *DAMAGE]
    order = random.Random(1)
    order.shuffle(lines)
    ends = [order.choice([b"\n", b"\r\n"]) for _ in lines]
    data = write_csv(tmp_path / "data", [])
    body = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    (data / "ratings.csv").write_bytes(b"\xef\xbb\xbf" + RATINGS_HEADER.encode() + b"\r\n" + body)

    result = ingest(spark, tmp_path, data, "ingest.max_rejected_share=0.02")

    rejected = {(content, reason) for _, content, reason in rows(spark, result, "rejected")}
    assert rejected == {(line.decode(errors="replace"), reason) for line, reason in DAMAGE.items()}
    assert all(source.endswith("data/ratings.csv") for source, _, _ in rows(spark, result, "rejected"))
    metrics = result.metrics
    assert metrics["rows_read"] == len(lines)
    assert (metrics["ratings"], metrics["rejected"], metrics["duplicates"]) == (3000, len(DAMAGE), 2)
    assert metrics["rejected_rating_off_the_scale"] == 4
    kept = {(user, item): (rating, when) for user, item, rating, when in rows(spark, result, "ratings")}
    assert len(kept) == 3000
    assert kept[1, 1][0] == 5.0
    assert kept[1, 1][1].year == 2033
    assert kept[2, 1][0] == 1.0
    assert kept[2, 1][1].year == 2000


def test_too_much_damage_fails_with_counts_and_offenders_and_publishes_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "data", [*rating_lines(100), "1,99,9,1", "1,98,8,1", ",1,1,1"])
    with pytest.raises(DataError) as caught:
        ingest(spark, tmp_path, data)
    message = str(caught.value)
    assert "3 of 103 lines of" in message
    assert "(2.9%, allowed are 1.0%, ingest.max_rejected_share)" in message
    assert "rating off the scale: 2; empty user id: 1" in message
    assert "'1,99,9,1' in file:" in message
    assert "data/ratings.csv" in message
    with pytest.raises(NotPublishedError):
        lake.current(spark, step_root(ingest_settings(tmp_path, data), "ingest"))


def test_bad_and_repeated_movies_are_rejected_the_first_of_an_id_stays(spark: SparkSession, tmp_path: Path) -> None:
    movies = [*movie_lines(200), "7,Again (2001),War", "x,Bad (2001),War"]
    data = write_csv(tmp_path / "data", rating_lines(100), movies)
    result = ingest(spark, tmp_path, data)
    assert {(content, reason) for _, content, reason in rows(spark, result, "rejected")} == {
        ("7,Again (2001),War", "duplicate movie id"),
        ("x,Bad (2001),War", "bad movie id"),
    }
    found = {item: (title, year, genres) for item, title, year, genres in rows(spark, result, "movies")}
    assert len(found) == 200
    assert found[7] == ("Film 7 (1957)", 1957, ["Drama"])


def test_a_rating_of_a_film_that_is_not_listed_stays(spark: SparkSession, tmp_path: Path) -> None:
    result = ingest(spark, tmp_path, write_csv(tmp_path / "data", rating_lines(100), movie_lines(1)))
    assert (result.metrics["ratings"], result.metrics["ratings_of_unlisted_movies"]) == (100, 50)
    assert (result.metrics["items"], result.metrics["movies"], result.metrics["users"]) == (2, 1, 50)
    assert result.metrics["sparsity"] == 0


def parsed(spark: SparkSession, folder: Path, lines: list[str], scale: Scale) -> DataFrame:
    table = find_release(spark, str(write_csv(folder, lines))).ratings
    return parse_ratings(read_lines(spark, table), table, scale)


def test_copies_of_one_second_are_settled_by_the_higher_rating(spark: SparkSession, tmp_path: Path) -> None:
    copies = ["7,7,2.0,5", "7,7,4.5,5", "7,7,3.0,5", "7,7,5.0,4"]
    for number, lines in enumerate((copies, copies[::-1])):
        ranked = rank_duplicates(parsed(spark, tmp_path / str(number), lines, HALF_STARS), 2)
        assert [(row.rating, row.copy) for row in ranked.orderBy("copy").select("rating", "copy").collect()] == [
            (4.5, 1),
            (3.0, 2),
            (2.0, 3),
            (5.0, 4),
        ]


def test_a_scale_without_steps_admits_all_between(spark: SparkSession, tmp_path: Path) -> None:
    lines = ["1,1,-10,5", "1,2,9.97,5", "1,3,.25,5", "1,4,10.01,5"]
    rows = parsed(spark, tmp_path, lines, Scale(-10, 10)).orderBy("item").select("rating", "reason").collect()
    assert [row[0] for row in rows] == pytest.approx([-10, 9.97, 0.25, 10.01])
    assert [row[1] for row in rows] == [None, None, None, "rating off the scale"]
    whole = parsed(spark, tmp_path, ["1,1,4,5", "1,2,4.5,5", "1,3,0,5"], WHOLE_STARS).orderBy("item")
    assert [row.reason for row in whole.collect()] == [None, "rating off the scale", "rating off the scale"]


def naive_reason(line: bytes) -> str | None:
    """What is wrong with a line of ratings, said plainly: the twin of the expression that Spark runs."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = None
    if not line.strip(b" \t\x0b\x0c"):
        return "empty line"
    if text is None or any(ord(char) < 9 or 14 <= ord(char) < 32 or ord(char) == 127 for char in text):
        return "binary garbage"
    fields = [field.strip(" ") for field in re.sub('"([^",]*)"', r"\1", text).split(",")]
    if len(fields) != 4:
        return "truncated line" if len(fields) < 4 else "too many columns"
    for name, field in zip(("user id", "movie id"), fields, strict=False):
        if not field:
            return f"empty {name}"
        if not (field.isascii() and field.isdigit() and len(field) <= 19 and int(field) < 2**63):
            return f"bad {name}"
    if not fields[2]:
        return "empty rating"
    if not set(fields[2].removeprefix("-")) <= set("0123456789."):
        return "rating is not a number"
    try:
        rating = float(fields[2])
    except ValueError:
        return "rating is not a number"
    if rating not in [half / 2 for half in range(1, 11)]:
        return "rating off the scale"
    if not fields[3]:
        return "empty timestamp"
    whole = fields[3].isascii() and fields[3].isdigit() and len(fields[3]) <= 12
    return None if whole and int(fields[3]) < 4_102_444_800 else "bad timestamp"


def mangled(line: bytes, chance: random.Random) -> bytes:
    """A line with up to four bytes changed, taken out or put in, line ends and quotes among them."""
    data = bytearray(line)
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        new = chance.choice(
            [b",", b" ", b".", b"-", b"5", b"x", b"\xc3", b"\xa9", b"\t", b'"', b"\r", b"\0", b"9" * 5000, b"\xc2\xa0",
             bytes([chance.randrange(256)])]
        )  # fmt: skip
        data[at : at + chance.randint(0, 1)] = new if chance.random() < 0.7 else b""
    return f'"{line.decode()}"'.replace(",", '","').encode() if chance.random() < 0.05 else bytes(data)


def test_any_mangled_lines_are_judged_as_the_plain_twin_does(spark: SparkSession, tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = [mangled(line.encode(), chance) for line in rating_lines(8000)]
    data = write_csv(tmp_path / "data", [])
    with (data / "ratings.csv").open("ab") as file:
        file.write(b"\n".join(lines))
    lines = re.split(b"\r\n|\r|\n", b"\n".join(lines))
    lines = lines if lines[-1] else lines[:-1]
    result = ingest(spark, tmp_path, data, "ingest.max_rejected_share=1")
    expected = sorted((line.decode(errors="replace")[:4096], r) for line in lines if (r := naive_reason(line)))
    found = sorted((content, reason) for _, content, reason in rows(spark, result, "rejected"))
    assert len(expected) > 2000
    assert [pair for pair in expected if "\ufffd" not in pair[0]] == [pair for pair in found if "\ufffd" not in pair[0]]
    assert sorted(reason for _, reason in expected) == sorted(reason for _, reason in found)
    good = {tuple(map(float, line.replace(b'"', b"").split(b","))) for line in lines if naive_reason(line) is None}
    kept = {(user, item, rating, when.timestamp()) for user, item, rating, when in rows(spark, result, "ratings")}
    assert kept <= good
    assert {row[:2] for row in kept} == {row[:2] for row in good}
    assert result.metrics["rows_read"] == len(lines)
