"""Rows of movies and users from physical lines: plain Python, and the iterators that executors run over Arrow batches.

Movies and users are small beside the ratings, so one readable implementation does for driver, executor and tests.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recsys_spark import schema
from recsys_spark.ingest.releases import FLAG_GENRES, GENRES, MOVIE_ID, TITLE, USER_ID, TableFormat

FIRST_YEAR, LAST_YEAR = 1870, 2030
"""Bounds of a plausible year of release: the oldest film of ml-32m is of 1874."""

NO_GENRES = "(no genres listed)"
MAX_CONTENT = 4096
"""Characters of a rejected line that are kept."""
MAX_LINE = 1 << 17
"""Characters of a line that is read: the csv module's own limit for a field."""

# Only years in parentheses: of the 201 real titles whose last word before "(year)" is a number that could be a year,
# 142 mean something else ("Death Race 2000 (1975)").
_YEAR = re.compile(r"\(\s*([0-9]{4})(?:\s*[-\u2013\u2014]\s*([0-9]{4})?)?\s*\)")
_ID = re.compile(r"[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_INT64_MAX = (1 << 63) - 1
_AGES = {  # codes of ml-1m; ml-100k has years, put into the same classes
    "1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+",
}  # fmt: skip
_OCCUPATIONS = (
    *("other", "educator", "artist", "clerical", "student (college)", "customer service", "doctor", "executive"),
    *("farmer", "homemaker", "student (K-12)", "lawyer", "programmer", "retired", "sales", "scientist"),
    *("self-employed", "technician", "tradesman", "unemployed", "writer"),
)


RowFunction = Callable[[dict[str, str]], dict[str, Any]]


class BadLine(ValueError):
    """A line that is no row; its text is the reason, one of a few constants, so that reasons can be counted."""


@dataclass(frozen=True)
class Lines:
    """How the lines of a table are taken apart: its format and the columns it really has, in order."""

    table: TableFormat
    columns: tuple[str, ...]

    def fields(self, line: bytes) -> dict[str, str]:
        """The fields of a line by column.

        Raises
        ------
        BadLine
            Empty, not text, too long, with broken quotes, or with another number of columns.
        """
        text = self._decode(line)
        if not text.strip():
            raise BadLine("empty line")
        if _CONTROL.search(text):
            raise BadLine("binary garbage")
        if len(text) > MAX_LINE:
            raise BadLine("line too long")
        values = self._split(text)
        if len(values) != len(self.columns):
            raise BadLine("truncated line" if len(values) < len(self.columns) else "too many columns")
        return dict(zip(self.columns, values, strict=True))

    def _decode(self, line: bytes) -> str:
        for encoding in self.table.encodings:
            try:
                return line.decode(encoding)
            except UnicodeDecodeError:
                continue
        raise BadLine("binary garbage")

    def _split(self, text: str) -> list[str]:
        if not self.table.quoted:
            return text.split(self.table.separator)
        try:
            return next(csv.reader([text], delimiter=self.table.separator, strict=True))
        except csv.Error as error:
            raise BadLine("broken quotes") from error


def parse_year(title: str) -> int | None:
    """Year of release in a title: the last plausible year in parentheses, of a range its end; None where there is none.

    >>> parse_year("Blade Runner 2049 (2017)"), parse_year("Naked Truth, The (1957) (Your Past Is Showing)")
    (2017, 1957)
    >>> parse_year("Death Note (2006–2007)"), parse_year("Babylon 5"), parse_year("1984")
    (2007, None, None)
    """
    years = [int(year) for match in _YEAR.finditer(title) for year in match.groups() if year]
    return next((year for year in reversed(years) if FIRST_YEAR <= year <= LAST_YEAR), None)


def parse_genres(text: str) -> list[str]:
    """Genres of a ``|`` list, each once; empty for ``(no genres listed)``."""
    genres = dict.fromkeys(genre.strip() for genre in text.split("|"))
    return [genre for genre in genres if genre and genre != NO_GENRES]


def movie(fields: dict[str, str]) -> dict[str, Any]:
    """A row of `movies` (item, title as it is, year or None, genres) from the fields of a line.

    Raises
    ------
    BadLine
        The id is not one, or the title is empty.
    """
    item = _identifier(fields[MOVIE_ID], "movie")
    title = fields[TITLE]
    if not title.strip():
        raise BadLine("empty title")
    if GENRES in fields:
        genres = parse_genres(fields[GENRES])
    else:
        genres = [genre for genre in FLAG_GENRES if fields[genre].strip() == "1"]
    return {schema.ITEM: item, schema.TITLE: title, schema.YEAR: parse_year(title), schema.GENRES: genres}


def user(fields: dict[str, str]) -> dict[str, Any]:
    """A row of `users` as the file has it: id and text attributes, None where empty."""
    row: dict[str, Any] = {schema.USER: _identifier(fields[USER_ID], "user")}
    return row | {name: value.strip() or None for name, value in fields.items() if name != USER_ID}


def demographic_user(fields: dict[str, str]) -> dict[str, Any]:
    """A row of `users` of ml-100k or ml-1m in common terms: gender, age class, occupation by name, region.

    The region is the first digit of a US zip code: as a feature, a whole zip code would name single users.
    """
    code, place = fields["occupation"].strip(), fields["zip"].strip()
    occupation = _OCCUPATIONS[int(code)] if _ID.fullmatch(code) and int(code) < len(_OCCUPATIONS) else code
    return {
        schema.USER: _identifier(fields[USER_ID], "user"),
        "gender": fields["gender"].strip() or None,
        "age": _age_class(fields["age"].strip()),
        "occupation": occupation or None,
        "region": place[0] if place[:1].isdecimal() else None,
    }


def parse_batches(
    batches: Iterable[pa.RecordBatch], lines: Lines, row: RowFunction, fields: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Executor: turn batches of physical lines into rows.

    Parameters
    ----------
    batches : column `line` (binary) and any others, which are passed on
    row : makes a row of the fields of a line (:func:`movie`, :func:`user` or :func:`demographic_user`)
    fields : of what `row` makes

    Yields
    ------
    pa.RecordBatch
        The columns passed on, then `row` (a struct, null for a bad line), `content` (the line) and `reason` (null for a
        good line).
    """
    output = made_schema(fields)
    for batch in batches:
        passed = batch.drop_columns(["line"])
        made = pa.RecordBatch.from_pylist(
            [_parse_line(line, lines, row) for line in batch.column("line").to_pylist()], schema=output
        )
        yield pa.RecordBatch.from_arrays(
            [*passed.columns, *made.columns], names=[*passed.schema.names, *made.schema.names]
        )


def made_schema(fields: pa.Schema) -> pa.Schema:
    """The columns that :func:`parse_batches` adds."""
    return pa.schema([("row", pa.struct(list(fields))), ("content", pa.string()), ("reason", pa.string())])


def _parse_line(line: bytes, lines: Lines, row: RowFunction) -> dict[str, Any]:
    content = line.decode("utf-8", errors="replace")[:MAX_CONTENT]
    try:
        return {"row": row(lines.fields(line)), "content": content}
    except BadLine as reason:
        return {"content": content, "reason": str(reason)}


def _identifier(text: str, what: str) -> int:
    text = text.strip()
    if not text:
        raise BadLine(f"empty {what} id")
    if not _ID.fullmatch(text) or int(text) > _INT64_MAX:
        raise BadLine(f"bad {what} id")
    return int(text)


def _age_class(text: str) -> str | None:
    if not _ID.fullmatch(text):
        return None
    return [name for code, name in _AGES.items() if int(code) <= max(1, int(text))][-1]
