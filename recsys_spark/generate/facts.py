"""What real releases look like, as numbers: the shapes that generated data follows.

Genres, years and titles: proportions counted in the movies.csv of MovieLens 32M (87,585 films), by GroupLens; F. M.
Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015. Only such summary figures
are used: no title, rating or tag of a release is contained here.
"""

from __future__ import annotations

import calendar

NO_GENRES = "(no genres listed)"
NO_GENRES_SHARE = 0.081

# Genre: share of the films that have any genre, then its loadings on three latent traits of a film (family, tension,
# spectacle): genres that load alike occur together, as Animation with Children and Crime with Thriller do.
GENRES: dict[str, tuple[float, float, float, float]] = {
    "Action": (0.120, -0.1, 0.3, 0.6),
    "Adventure": (0.067, 0.4, 0.0, 0.6),
    "Animation": (0.057, 0.7, 0.0, 0.2),
    "Children": (0.056, 0.8, -0.1, 0.1),
    "Comedy": (0.287, 0.1, -0.5, -0.1),
    "Crime": (0.087, -0.2, 0.6, 0.0),
    "Documentary": (0.116, -0.1, -0.3, -0.5),
    "Drama": (0.425, -0.4, 0.1, -0.4),
    "Fantasy": (0.048, 0.5, 0.0, 0.4),
    "Film-Noir": (0.004, -0.1, 0.5, 0.0),
    "Horror": (0.107, -0.2, 0.4, 0.2),
    "IMAX": (0.002, 0.2, 0.0, 0.6),
    "Musical": (0.013, 0.3, -0.3, 0.0),
    "Mystery": (0.050, -0.1, 0.6, 0.0),
    "Romance": (0.129, -0.1, -0.4, -0.3),
    "Sci-Fi": (0.061, 0.0, 0.2, 0.6),
    "Thriller": (0.147, -0.3, 0.7, 0.2),
    "War": (0.029, -0.2, 0.0, 0.1),
    "Western": (0.021, 0.0, 0.0, 0.2),
}

# First year of a span, number of years in it, share of the films.
YEARS: tuple[tuple[int, int, float], ...] = (
    (1878, 22, 0.0025),
    (1900, 10, 0.0034),
    (1910, 10, 0.0045),
    (1920, 10, 0.0084),
    (1930, 10, 0.0298),
    (1940, 10, 0.0317),
    (1950, 10, 0.0416),
    (1960, 10, 0.0500),
    (1970, 10, 0.0689),
    (1980, 10, 0.0732),
    (1990, 10, 0.0945),
    (2000, 10, 0.1781),
    (2010, 10, 0.3216),
    (2020, 4, 0.0918),
)

# Share of the films whose title has a quirk; each occurs at least once in every data set.
QUIRKS: dict[str, float] = {
    "no_year": 610 / 87_585,
    "trailing_space": 154 / 87_585,
    "double_parenthesis": 1 / 87_585,
    "year_in_the_middle": 1 / 87_585,
    "year_range": 1 / 87_585,
    "bare_year": 2 / 87_585,
    "number_not_year": 1 / 87_585,
    "quotes": 25 / 87_585,
    "original_title": 0.034,
    "shared_title": 201 / 87_585,
}

ARTICLE_SHARE = 0.052
"""Films whose title is filed under its second word: "Name of the Film, The (1999)"."""

# Group of users: share of the users. The names are ours: MovieLens publishes no such thing since ml-1m.
GROUPS: dict[str, float] = {
    "casual": 0.26,
    "student": 0.18,
    "parent": 0.14,
    "cinephile": 0.12,
    "thrill-seeker": 0.10,
    "romantic": 0.08,
    "nostalgic": 0.07,
    "documentarian": 0.05,
}


def _utc(year: int, month: int, day: int) -> int:
    return calendar.timegm((year, month, day, 0, 0, 0))


SITE_OPENS = _utc(1996, 1, 29)
"""Seconds since the epoch of the first possible rating."""
LAST_FILM_ADDED = _utc(2023, 6, 1)
"""No film is added later, so that every film that is rated at all has users left to rate it."""
SITE_CLOSES = _utc(2023, 10, 13)
"""Seconds since the epoch after which nothing is rated."""
