"""Titles have every quirk of the real ones, at its real share, and movies.csv and users.csv are RFC-4180."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

import numpy as np
import pytest

from generated import world
from recsys_spark.generate.facts import GENRES, GROUPS, NO_GENRES
from recsys_spark.generate.release import movies_csv, users_csv
from recsys_spark.generate.titles import draw_titles

QUIRKS = {
    "no year": r"^[^(]*[A-Za-z]$",
    "trailing space": r"\(\d{4}\) $",
    "double parenthesis": r"\(\d{4}\)\)$",
    "year in the middle": r"\(\d{4}\) \(.*[^)\d]\)$",
    "year range": r"\(\d{4}–\d{4}\)$",
    "bare year": r"[^(–]\b\d{4}$",
    "number that is no year": r"^1013 \w+ Lane$",
    "quotes": r'"The \w+" of',
    "article": r", The(?: \(|$)",
    "comma": r", the \w+ and",
    "accents or another script": r"[^\x00-\x7f–]",
    "plain": r"^[\w' :]+ \(\d{4}\)$",
}


@pytest.mark.parametrize("name", ["demo", "1m"])
@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_quirk_is_there(name: str, quirk: str) -> None:
    assert any(re.search(QUIRKS[quirk], title) for title in draw_titles(world(name).films, 42))


def test_quirks_are_as_frequent_as_in_32m() -> None:
    titles = draw_titles(world("32m").films, 42)
    strict = sum(not re.search(r"\(\d{4}\)$", title) for title in titles)
    trimmed = sum(not re.search(r"\(\d{4}\)$", title.strip()) for title in titles)
    assert strict == pytest.approx(771, abs=10)
    assert trimmed == pytest.approx(617, abs=10)
    assert sum("," in title for title in titles) / len(titles) == pytest.approx(0.086, abs=0.03)
    assert sum(not title.isascii() for title in titles) / len(titles) == pytest.approx(0.036, abs=0.01)


@pytest.mark.parametrize("name", ["demo", "1m", "32m"])
def test_pairs_share_a_title_and_no_others_do(name: str) -> None:
    films = world(name).films
    titles = draw_titles(films, 42)
    twins = np.flatnonzero(films.twin_of >= 0)
    assert len(twins) == max(1, round(201 / 87_585 * len(titles)))
    assert all(titles[twin] == titles[films.twin_of[twin]] for twin in twins)
    assert len(titles) - len(set(titles)) == len(twins)


def test_the_last_year_of_a_title_is_the_film_s() -> None:
    films = world("1m").films
    for title, year in zip(draw_titles(films, 42), films.years, strict=True):
        found = re.findall(r"(?:\(|\b)(1[89]\d\d|20[012]\d)\b", title)
        assert not found or int(found[-1]) in (year, year + 1)


def test_movies_csv() -> None:
    films, text = world().films, movies_csv(world())
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["movieId", "title", "genres"]
    assert text.startswith("movieId,title,genres\r\n")
    assert text.count("\r\n") == text.count("\n") == len(rows) + 1
    assert [int(row[0]) for row in rows] == sorted(films.ids)
    by_id = dict(zip(films.ids, draw_titles(films, 42), strict=True))
    assert [row[1] for row in rows] == [by_id[int(row[0])] for row in rows]
    genres = Counter(genre for row in rows for genre in row[2].split("|"))
    assert set(genres) == {*GENRES, NO_GENRES}
    quoted = next(line for line in text.split("\r\n") if '""The ' in line)
    assert re.fullmatch(r'\d+,"\w+ ""The \w+"" of [\w ]+ \(\d{4}\)",.+', quoted)


def test_users_csv_has_the_cold_users_too() -> None:
    header, *rows = csv.reader(io.StringIO(users_csv(world()), newline=""), strict=True)
    assert header == ["userId", "group"]
    assert [int(row[0]) for row in rows] == list(range(1, 1011))
    shares = Counter(row[1] for row in rows)
    for group, share in GROUPS.items():
        assert shares[group] / len(rows) == pytest.approx(share, abs=0.04)
