"""Titles, genres, movies and users: the quirks of real files, and any garbage."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_spark.ingest.parse import (
    FIRST_YEAR,
    LAST_YEAR,
    BadLine,
    Lines,
    demographic_user,
    movie,
    parse_batches,
    parse_genres,
    parse_year,
    user,
)
from recsys_spark.ingest.releases import CSV, DAT, U_DATA

MOVIES = Lines(CSV.movies, CSV.movies.columns)


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Toy Story (1995)", 1995),
        ("Back to 1942 (2012) ", 2012),
        ("Skokie\xa0(1981)", 1981),
        ("Deadly Advice(1994)", 1994),
        ("Transit\xa0 (2018)\r", 2018),
        ("Mona and the Time of Burning Love (Mona ja palavan rakkauden aika) (1983))", 1983),
        ("The Naked Truth (1957) (Your Past Is Showing)", 1957),
        ("Death Note: Desu nôto (2006–2007)", 2007),
        ("A Series (2006-2007)", 2007),
        ("A Series (2006— 2007)", 2007),
        ("Still Running (2006-)", 2006),
        ("All the Streets Are Silent (1987-1997) (2021)", 2021),
        ("Don Quixote (1973) (1973)", 1973),
        ("2001: A Space Odyssey (1968)", 1968),
        ("Blade Runner 2049 (2017)", 2017),
        ("Cube (2049)", None),
        ("Cube (2049) (1997)", 1997),
        ("Film (1997) (2049)", 1997),
        ("1984", None),
        ("1984 (1956)", 1956),
        ("(500) Days of Summer (2009)", 2009),
        ("(500) Days of Summer", None),
        ("Captive Women (1000 Years from Now) (3000 A.D.) (1952)", 1952),
        ("Captive Women (3000 A.D.)", None),
        ("Commune, La (Paris, 1871) (2000)", 2000),
        ("Commune, La (Paris, 1871)", None),
        ("The Making of the Philadelphia Eagles Cheerleaders Lingerie Calendar 2005-2006", None),
        ("Irwin & Fran 2013", None),
        ("Arabic digits (٢٠٠٦)", None),
        ("Five (19955)", None),
        ("Oldest (1870) ", 1870),
        ("Older (1869)", None),
        ("Newest (2030)", 2030),
        ("Newer (2031)", None),
        ("Babylon 5", None),
        ("", None),
    ],
)
def test_year_in_a_title(title: str, year: int | None) -> None:
    assert parse_year(title) == year


@given(st.text())
def test_any_text_has_a_plausible_year_or_none(text: str) -> None:
    year = parse_year(text)
    assert year is None or (FIRST_YEAR <= year <= LAST_YEAR and str(year) in text)


@given(st.text(), st.integers(FIRST_YEAR, LAST_YEAR))
def test_a_year_at_the_end_wins_over_any_text_before_it(text: str, year: int) -> None:
    assert parse_year(f"{text} ({year})") == year


@pytest.mark.parametrize(
    ("text", "genres"),
    [
        ("Adventure|Animation|Children", ["Adventure", "Animation", "Children"]),
        ("(no genres listed)", []),
        ("", []),
        ("Drama| Drama |War|", ["Drama", "War"]),
        ("Film-Noir\r", ["Film-Noir"]),
    ],
)
def test_genres(text: str, genres: list[str]) -> None:
    assert parse_genres(text) == genres


def test_movie_keeps_the_title_as_it_is() -> None:
    line = b'7,"Back, ""To"" 1942 (2012) ",Drama|War'
    assert movie(MOVIES.fields(line)) == {
        "item": 7, "title": 'Back, "To" 1942 (2012) ', "year": 2012, "genres": ["Drama", "War"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty line"),
        (b"  \t", "empty line"),
        (b"7,Title", "truncated line"),
        (b"7,One, Two (1999),Drama", "too many columns"),
        (b'7,"Open (1999),Drama', "broken quotes"),
        (b'7,"Open" (1999),Drama', "broken quotes"),
        (b"7,\xff\xfe,Drama", "binary garbage"),
        (b"7,A\x00B (1999),Drama", "binary garbage"),
        (b",Title (1999),Drama", "empty movie id"),
        (b" ,Title (1999),Drama", "empty movie id"),
        (b"x7,Title (1999),Drama", "bad movie id"),
        (b"-7,Title (1999),Drama", "bad movie id"),
        (b"7.0,Title (1999),Drama", "bad movie id"),
        (b"9223372036854775808,Title (1999),Drama", "bad movie id"),
        ("٧,Title (1999),Drama".encode(), "bad movie id"),
        (b"7, ,Drama", "empty title"),
    ],
)
def test_bad_movie_lines_have_a_reason(line: bytes, reason: str) -> None:
    with pytest.raises(BadLine, match=f"^{reason}$"):
        movie(MOVIES.fields(line))


def test_largest_id() -> None:
    assert movie(MOVIES.fields(b"9223372036854775807,T,Drama"))["item"] == 2**63 - 1


def test_old_layouts_are_read_as_utf8_or_else_latin1() -> None:
    dat = Lines(DAT.movies, DAT.movies.columns)
    for encoding in ("utf-8", "latin-1"):
        fields = dat.fields("3::Misérables, Les (1995)::Drama|Musical".encode(encoding))
        assert movie(fields)["title"] == "Misérables, Les (1995)"


def test_genre_flags_of_ml_100k() -> None:
    flags = ["0"] * 19
    flags[4] = flags[14] = "1"
    line = "|".join(["12", "Good (1995)", "01-Jan-1995", "", "http://x", *flags]).encode()
    row = movie(Lines(U_DATA.movies, U_DATA.movies.columns).fields(line))
    assert (row["genres"], row["year"]) == (["Children's", "Romance"], 1995)
    unknown = "|".join(["267", "unknown", "", "", "", "1", *["0"] * 18]).encode()
    row = movie(Lines(U_DATA.movies, U_DATA.movies.columns).fields(unknown))
    assert (row["genres"], row["year"]) == ([], None)


def test_users_of_ml_1m_and_ml_100k_get_the_same_attributes() -> None:
    dat = Lines(DAT.users, DAT.users.columns)
    bar = Lines(U_DATA.users, U_DATA.users.columns)
    expected = {"user": 4, "gender": "M", "age": "45-49", "occupation": "executive", "region": "0"}
    assert demographic_user(dat.fields(b"4::M::45::7::02460")) == expected
    assert demographic_user(bar.fields(b"4|47|M|executive|02460")) == expected
    odd = demographic_user(bar.fields(b"5|7|F||V3N4P"))
    assert odd == {"user": 5, "gender": "F", "age": "under 18", "occupation": None, "region": None}
    assert demographic_user(dat.fields(b"6::F::1::99::"))["age"] == "under 18"
    assert demographic_user(dat.fields(b"6::F::?::21::"))["age"] is None


def test_own_users_keep_their_attributes() -> None:
    lines = Lines(CSV.users, ("group", "userId", "country"))
    assert user(lines.fields(b"student,3, ")) == {"user": 3, "group": "student", "country": None}
    with pytest.raises(BadLine, match="bad user id"):
        user(lines.fields(b"student,three,SE"))


def test_batches_pass_other_columns_on_and_lose_no_line() -> None:
    fields = pa.schema([("item", pa.int64()), ("year", pa.int32())])
    batch = pa.RecordBatch.from_pydict(
        {"source": ["a", "a", "b"], "line": [b"1,T (1999),Drama", b"\xff" * 5000, b"2,U,"], "position": [0, 1, 2]}
    )
    rows = pa.Table.from_batches(parse_batches([batch], MOVIES, movie, fields)).to_pylist()
    assert [row["reason"] for row in rows] == [None, "binary garbage", None]
    assert [(row["source"], row["position"], row["row"]) for row in rows] == [
        ("a", 0, {"item": 1, "year": 1999}),
        ("a", 1, None),
        ("b", 2, {"item": 2, "year": None}),
    ]
    assert [row["content"] for row in rows] == ["1,T (1999),Drama", "\ufffd" * 4096, "2,U,"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_movie_or_a_reason(line: bytes) -> None:
    for lines in (MOVIES, Lines(DAT.movies, DAT.movies.columns)):
        with contextlib.suppress(BadLine):  # any other error fails the test
            row = movie(lines.fields(line))
            assert 0 <= row["item"] < 2**63
            assert row["title"].strip()
