"""Small releases for the tests of ingest, written as files, and the settings to read them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys_spark.config import Settings, load_settings

RATINGS_HEADER = "userId,movieId,rating,timestamp"
MOVIES_HEADER = "movieId,title,genres"


def rating_lines(count: int, users: int = 50) -> list[str]:
    """So many good lines, every (user, movie) once: ratings 0.5 … 5.0 in turn, one a minute from 2000-01-01 on."""
    return [
        f"{row % users + 1},{row // users + 1},{row % 10 / 2 + 0.5},{946_684_800 + 60 * row}" for row in range(count)
    ]


def movie_lines(count: int) -> list[str]:
    """Films 1 … count, of 1950 and later, each a drama."""
    return [f"{movie},Film {movie} ({1950 + movie % 70}),Drama" for movie in range(1, count + 1)]


def write_csv(folder: Path, ratings: list[str], movies: list[str] | None = None, end: str = "\r\n") -> Path:
    """A release in the layout of ml-latest-small."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, header, lines in (
        ("ratings", RATINGS_HEADER, ratings),
        ("movies", MOVIES_HEADER, movie_lines(60) if movies is None else movies),
    ):
        (folder / f"{name}.csv").write_bytes("".join(line + end for line in [header, *lines]).encode())
    return folder


def ingest_settings(tmp_path: Path, dataset: Path | str, *overrides: str, **options: Any) -> Settings:
    """Settings for a data set whose lake is in `tmp_path`."""
    return load_settings([], overrides, {"dataset": str(dataset), "workdir": str(tmp_path / "lake"), **options})
