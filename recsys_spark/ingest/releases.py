"""What the MovieLens releases look like and where they are; data only, no Spark."""

from __future__ import annotations

from dataclasses import dataclass

BASE_URL = "https://files.grouplens.org/datasets/movielens"
CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)

USER_ID, MOVIE_ID, RATING, TIMESTAMP = "userId", "movieId", "rating", "timestamp"
TITLE, GENRES = "title", "genres"

FLAG_GENRES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""Genres of ml-100k, in the order of its 0/1 columns (after "unknown")."""


@dataclass(frozen=True)
class Scale:
    """The values a rating may take: `low`, `low + step` … `high`; any value between them where `step` is None."""

    low: float
    high: float
    step: float | None = None


@dataclass(frozen=True)
class TableFormat:
    """How one table of a release is written.

    Attributes
    ----------
    names : what its file, or its folder of part files, may be called
    separator : between columns
    columns : with a header those that it must name, else all columns in their order
    header : whether each file starts with a line of column names
    quoted : whether a field may stand in double quotes, RFC 4180
    encodings : tried in this order
    """

    names: tuple[str, ...]
    separator: str
    columns: tuple[str, ...]
    header: bool = False
    quoted: bool = False
    encodings: tuple[str, ...] = ("utf-8", "latin-1")


@dataclass(frozen=True)
class Layout:
    """A family of releases that are written alike."""

    name: str
    ratings: TableFormat
    movies: TableFormat
    users: TableFormat


def _csv(stem: str, *columns: str) -> TableFormat:
    return TableFormat((f"{stem}.csv", stem), ",", columns, header=True, quoted=True, encodings=("utf-8",))


_RATING_COLUMNS = (USER_ID, MOVIE_ID, RATING, TIMESTAMP)

CSV = Layout(
    "csv",
    ratings=_csv("ratings", *_RATING_COLUMNS),
    movies=_csv("movies", MOVIE_ID, TITLE, GENRES),
    users=_csv("users", USER_ID),
)
DAT = Layout(
    "dat",
    ratings=TableFormat(("ratings.dat",), "::", _RATING_COLUMNS),
    movies=TableFormat(("movies.dat",), "::", (MOVIE_ID, TITLE, GENRES)),
    users=TableFormat(("users.dat",), "::", (USER_ID, "gender", "age", "occupation", "zip")),
)
U_DATA = Layout(
    "u.data",
    ratings=TableFormat(("u.data",), "\t", _RATING_COLUMNS),
    movies=TableFormat(("u.item",), "|", (MOVIE_ID, TITLE, "releaseDate", "videoDate", "url", "unknown", *FLAG_GENRES)),
    users=TableFormat(("u.user",), "|", (USER_ID, "age", "gender", "occupation", "zip")),
)
LAYOUTS = (CSV, DAT, U_DATA)

HALF_STARS = Scale(0.5, 5.0, 0.5)
WHOLE_STARS = Scale(1.0, 5.0, 1.0)


def scale_of(layout: Layout, has_users: bool) -> Scale:
    """The scale of a release: whole stars in ml-100k and ml-1m (the `::` release with users), half stars since."""
    return WHOLE_STARS if layout is U_DATA or (layout is DAT and has_users) else HALF_STARS


@dataclass(frozen=True)
class Release:
    """A release that GroupLens serves; `md5` of its zip, None where it changes or is unknown."""

    name: str
    md5: str | None

    @property
    def file(self) -> str:
        """Name of its zip."""
        return f"{self.name}.zip"


RELEASES = {
    release.name: release
    for release in (
        Release("ml-latest-small", None),  # changes over time
        Release("ml-32m", "d472be332d4daa821edc399621853b57"),
        Release("ml-25m", "6b51fb2759a8657d3bfcbfc42b592ada"),
        Release("ml-20m", "cd245b17a1ae2cc31bb14903e1204af3"),
        Release("ml-10m", "ce571fd55effeba0271552578f2648bd"),
        Release("ml-1m", "c4d9eecfca2ab87c1945afe126590906"),
        Release("ml-100k", "0e33842e24a9c977be4e0107933c0723"),
    )
}
