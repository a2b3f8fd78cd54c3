"""Any bytes through the ingest parsers: a line is a row or has one of a few reasons, and what is written is read."""

from __future__ import annotations

import contextlib
import csv
import io
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.errors import DataError
from recsys_spark.ingest.parse import (
    MAX_CONTENT,
    MAX_LINE,
    NO_GENRES,
    BadLine,
    Lines,
    demographic_user,
    movie,
    parse_batches,
    user,
)
from recsys_spark.ingest.raw import _check_first_line
from recsys_spark.ingest.releases import CSV, DAT, FLAG_GENRES, LAYOUTS, U_DATA

REASONS = {
    *("empty line", "binary garbage", "line too long", "broken quotes", "truncated line", "too many columns"),
    *("empty movie id", "bad movie id", "empty title", "empty user id", "bad user id"),
}
OWN = ("userId", "country", "group")
KINDS = {
    "csv movies": (Lines(CSV.movies, CSV.movies.columns), movie),
    "dat movies": (Lines(DAT.movies, DAT.movies.columns), movie),
    "u.item": (Lines(U_DATA.movies, U_DATA.movies.columns), movie),
    "csv users": (Lines(CSV.users, OWN), user),
    "dat users": (Lines(DAT.users, DAT.users.columns), demographic_user),
    "u.user": (Lines(U_DATA.users, U_DATA.users.columns), demographic_user),
}
SCHEMAS = {
    movie: [("item", pa.int64()), ("title", pa.string()), ("year", pa.int32()), ("genres", pa.list_(pa.string()))],
    user: [("user", pa.int64()), *((name, pa.string()) for name in OWN[1:])],
    demographic_user: [
        ("user", pa.int64()),
        *((name, pa.string()) for name in ("gender", "age", "occupation", "region")),
    ],
}

# What a line of a damaged file is made of: good fields, separators, quotes, line ends, and odd things in quantity.
PIECES = st.one_of(
    st.sampled_from(["1", "42", "Film (1999)", "Drama|War", "M", "7", "0|1", "-1", "1e3", str(2**63), "9" * 5000]),
    st.sampled_from(["::", ",", "|", "\t", '"', '""', "\r", "\n", "\0", " "]),
    st.sampled_from(["\ufeff", "\u2028", "\x85", "\u0663", "\U0001f600", "e\u0301"]),
    st.text(max_size=8),
)  # fmt: skip
LINES = st.one_of(
    st.lists(PIECES, max_size=12).map("".join).map(str.encode),
    st.lists(PIECES, max_size=6).map("::".join).map(str.encode),
    st.lists(PIECES, min_size=5, max_size=24).map("|".join).map(lambda text: text.encode("latin-1", errors="replace")),
    st.lists(PIECES, max_size=4).map(",".join).map(str.encode),
    st.binary(max_size=60),
)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029"), max_size=40)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.lists(LINES, max_size=8))
@settings(max_examples=150, deadline=None)
def test_every_line_is_a_row_or_has_a_reason(kind: str, data: list[bytes]) -> None:
    lines, row = KINDS[kind]
    batch = pa.RecordBatch.from_pydict(
        {"line": pa.array(data, pa.binary()), "position": pa.array(range(len(data)), pa.int64())}
    )
    (made,) = parse_batches([batch], lines, row, pa.schema(SCHEMAS[row]))
    made.validate(full=True)
    assert made["position"].to_pylist() == list(range(len(data)))
    for line, found in zip(data, made.to_pylist(), strict=True):
        assert (found["row"] is None) == (found["reason"] in REASONS)
        assert (found["row"] is None) != (found["reason"] is None)
        assert found["content"] == line.decode(errors="replace")[:MAX_CONTENT]
        if found["row"]:
            number = found["row"].get("item", found["row"].get("user"))
            assert 0 <= number < 2**63
            assert re.search(rb"(?<![0-9])0*%d(?![0-9])" % number, line)


def written(table_fields: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(table_fields)
    return out.getvalue().encode()


GENRE = TEXT.map(lambda text: text.replace("|", "").strip()).filter(lambda text: text and text != NO_GENRES)


@given(st.integers(0, 2**63 - 1), TEXT.filter(str.strip), st.lists(GENRE, unique=True, max_size=4))
@settings(deadline=None)
def test_a_film_that_is_written_is_read(item: int, title: str, genres: list[str]) -> None:
    found = movie(KINDS["csv movies"][0].fields(written([str(item), title, "|".join(genres) or NO_GENRES])))
    assert (found["item"], found["title"], found["genres"]) == (item, title, genres)
    if "::" not in f"{title}:{''.join(genres)}" and not title.endswith(":"):
        line = f"{item}::{title}::{'|'.join(genres)}".encode()
        assert movie(KINDS["dat movies"][0].fields(line))["title"] == title
    flags = ["1" if name in ("War", "Drama") else "0" for name in FLAG_GENRES]
    if "|" not in title:
        line = "|".join([str(item), title, "", "", "", "0", *flags]).encode()
        assert movie(KINDS["u.item"][0].fields(line))["genres"] == ["Drama", "War"]


@given(st.integers(0, 2**63 - 1), TEXT, TEXT)
@settings(deadline=None)
def test_a_user_that_is_written_is_read(number: int, country: str, group: str) -> None:
    found = user(KINDS["csv users"][0].fields(written([str(number), country, group])))
    assert found == {"user": number, "country": country.strip() or None, "group": group.strip() or None}


def test_a_field_of_any_length_has_a_reason_and_leaves_the_others_alone() -> None:
    lines, row = KINDS["csv movies"]
    data = [
        b"1,A,War",
        b"2," + b"x" * MAX_LINE + b",War",
        b'3,"' + b"y" * MAX_LINE,
        b"4," + b"z" * (MAX_LINE - 6) + b",War",
    ]
    batch = pa.RecordBatch.from_pydict({"line": pa.array(data, pa.binary())})
    (made,) = parse_batches([batch], lines, row, pa.schema(SCHEMAS[row]))
    assert made["reason"].to_pylist() == [None, "line too long", "line too long", None]
    assert max(len(content) for content in made["content"].to_pylist()) == MAX_CONTENT


def test_numbers_too_long_for_python_are_text() -> None:
    lines, row = KINDS["dat users"]
    long = b"9" * 5000
    found = row(lines.fields(b"1::M::" + long + b"::" + long + b"::0"))
    assert (found["age"], found["occupation"]) == (None, long.decode())
    with pytest.raises(BadLine, match="bad user id"):
        row(lines.fields(long + b"::M::1::1::0"))


TABLES = [(kind, getattr(layout, kind)) for layout in LAYOUTS for kind in ("ratings", "movies", "users")]


@given(st.sampled_from(TABLES), LINES)
@settings(max_examples=300, deadline=None)
def test_any_first_line_is_a_header_or_an_error_of_ours(table: tuple[str, object], line: bytes) -> None:
    kind, wanted = table
    text = re.split("[\r\n]", line.decode(errors="replace"), maxsplit=1)[0]
    with contextlib.suppress(DataError):  # any other error fails the test
        columns = _check_first_line("file", text, kind, wanted)  # type: ignore[arg-type]
        assert set(wanted.columns) <= set(columns)  # type: ignore[attr-defined]
