"""A release's tables where they lie: their files, their columns, and their physical lines as Spark reads them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.errors import DataError
from recsys_spark.ingest.releases import GENRES, LAYOUTS, RATING, USER_ID, Layout, TableFormat
from recsys_spark.lake.fs import locate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BOM = "\ufeff"
_FIRST_LINE_BYTES = 1 << 16
_SHOWN = 120


@dataclass(frozen=True)
class RawTable:
    """One table of a release.

    Attributes
    ----------
    kind : ratings, movies or users
    files : paths or URIs of its files, sorted
    columns : the columns that it really has, in order, in the release's own words
    headers : the header lines of its files, as they are written
    bytes : of all files
    """

    kind: str
    format: TableFormat
    files: tuple[str, ...]
    columns: tuple[str, ...]
    headers: frozenset[str]
    bytes: int


@dataclass(frozen=True)
class RawRelease:
    """The tables of a release; `users` is None where it has none."""

    layout: Layout
    ratings: RawTable
    movies: RawTable
    users: RawTable | None

    @property
    def tables(self) -> tuple[RawTable, ...]:
        """Those that there are."""
        return tuple(table for table in (self.ratings, self.movies, self.users) if table is not None)


def find_release(spark: SparkSession, folder: str) -> RawRelease:
    """Recognise the layout of a folder by its files, and look at the first line of each; driver only.

    Raises
    ------
    DataError
        The folder is missing or holds no known layout, or a table of it is missing, empty, or of another kind or with
        other columns than its name says.
    """
    folder = folder.rstrip("/")
    names = {name for name, *_ in lake.list_dir(spark, folder)}
    if not names:
        raise DataError(f"no such folder, or nothing in it: {folder}; expected {_expected()}")
    layout = next((layout for layout in LAYOUTS if names & set(layout.ratings.names)), None)
    if layout is None:
        found = ", ".join(sorted(names)[:10])
        raise DataError(f"no ratings in {folder}: expected {_expected()}; found: {found}")
    if not names & set(layout.movies.names):
        raise DataError(
            f"no {layout.movies.names[0]} beside the ratings in {folder}; found: {', '.join(sorted(names)[:10])}"
        )
    return RawRelease(
        layout,
        ratings=_open_table(spark, folder, names, "ratings", layout.ratings),
        movies=_open_table(spark, folder, names, "movies", layout.movies),
        users=_open_table(spark, folder, names, "users", layout.users) if names & set(layout.users.names) else None,
    )


def read_lines(spark: SparkSession, table: RawTable) -> DataFrame:
    """Every physical line of a table but its headers: `line` (a string of the very bytes), `source`.

    Lines end with LF, CRLF or CR, in any mixture; a byte order mark is taken off. `block` and `position` order the
    lines of a source: the byte at which the task's part of the file starts, and a number that grows within it.
    """
    from pyspark.sql import functions as F

    # Spark takes these for glob patterns, also in the path of a file that was found by listing.
    files = [re.sub(r"([{}\[\]*?\\])", r"\\\1", file) for file in table.files]
    lines = spark.read.text(files).select(
        F.when(F.col("value").startswith(_BOM), F.substring("value", 2, 2**31 - 1))
        .otherwise(F.col("value"))
        .alias("line"),
        F.col("_metadata.file_path").alias("source"),
        F.col("_metadata.file_block_start").alias("block"),
        F.monotonically_increasing_id().alias("position"),
    )
    return lines.where(~F.col("line").isin(sorted(table.headers))) if table.headers else lines


def _expected() -> str:
    return ", or ".join(f"{layout.ratings.names[0]} and {layout.movies.names[0]}" for layout in LAYOUTS)


def _open_table(spark: SparkSession, folder: str, names: set[str], kind: str, table: TableFormat) -> RawTable:
    path = f"{folder}/{next(name for name in table.names if name in names)}"
    files = _files(spark, path)
    if not files:
        raise DataError(f"{path} is empty: expected {kind}")
    firsts = {file: first for file in files if (first := _first_line(spark, file)) is not None}
    columns: tuple[str, ...] = table.columns
    for number, (file, first) in enumerate(firsts.items()):
        found = _check_first_line(file, first, kind, table)
        if number and found != columns:
            raise DataError(f"{file} has the columns {', '.join(found)}; {next(iter(firsts))} has {', '.join(columns)}")
        columns = found
    headers = frozenset(firsts.values()) if table.header else frozenset()
    return RawTable(kind, table, tuple(firsts), columns, headers, sum(files.values()))


def _files(spark: SparkSession, path: str) -> dict[str, int]:
    """Files with content and their bytes: the path itself, or what lies in it (hidden files apart, as in Spark)."""
    at = locate(spark, path)
    if not at.fs.getFileStatus(at.path).isDirectory():
        size = int(at.fs.getFileStatus(at.path).getLen())
        return {path: size} if size else {}
    entries = lake.list_dir(spark, path)
    return {
        f"{path}/{name}": size
        for name, is_dir, size, _ in entries
        if not is_dir and size and not name.startswith(("_", "."))
    }


def _first_line(spark: SparkSession, file: str) -> str:
    """The first line without byte order mark and line end; bytes that are not UTF-8 are replaced."""
    at = locate(spark, file)
    stream = at.fs.open(at.path)
    try:
        head = bytes(stream.readNBytes(_FIRST_LINE_BYTES))
    finally:
        stream.close()
    return re.split("[\r\n]", head.decode("utf-8", errors="replace").removeprefix(_BOM), maxsplit=1)[0]


def _check_first_line(file: str, line: str, kind: str, table: TableFormat) -> tuple[str, ...]:
    """The columns of a file, if its first line is one that this kind of table can start with."""
    shown = repr(line[:_SHOWN])
    if not table.header:
        # A damaged first line is for the quarantine; a whole one of another table is a mistake worth a sentence.
        other = _kind_by_width(line, table)
        if other not in (None, kind):
            raise DataError(f"{file} looks like {other}, expected {kind}; its first line is {shown}")
        return table.columns
    try:
        names = next(csv.reader([line], delimiter=table.separator), [])
    except csv.Error as problem:
        raise DataError(f"{file} starts with {shown}, which is no header of {kind} ({problem})") from problem
    columns = tuple(name.strip() for name in names)
    canonical = {name.lower(): name for name in table.columns}
    columns = tuple(canonical.get(name.lower(), name) for name in columns)
    missing = [name for name in table.columns if name not in columns]
    if missing:
        looks = _kind_by_columns(columns)
        hint = f"; it looks like {looks}" if looks not in (None, kind) else ""
        raise DataError(
            f"{file} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: expected {kind} with the header "
            f"{','.join(table.columns)}, found {shown}{hint}"
        )
    twice = sorted({name for name in columns if [c.lower() for c in columns].count(name.lower()) > 1})
    if twice:
        raise DataError(f"{file} names the column {', '.join(twice)} twice in its header {shown}")
    return columns


def _kind_by_columns(columns: tuple[str, ...]) -> str | None:
    lower = {name.lower() for name in columns}
    if RATING in lower:
        return "ratings"
    if GENRES in lower:
        return "movies"
    if "tag" in lower:
        return "tags"
    return "users" if USER_ID.lower() in lower else None


def _kind_by_width(line: str, table: TableFormat) -> str | None:
    """The table of a layout without headers that has lines like this one, or None if none has."""
    layout = next(layout for layout in LAYOUTS if table in (layout.ratings, layout.movies, layout.users))
    for kind, other in (("ratings", layout.ratings), ("movies", layout.movies), ("users", layout.users)):
        values = line.split(other.separator)
        if len(values) == len(other.columns) and values[0].strip().isdecimal():
            return kind
    return None
