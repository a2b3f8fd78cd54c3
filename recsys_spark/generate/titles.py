"""Made-up titles with the quirks that real ones have. Driver only.

Titles follow the manner of MovieLens: "City of Rivers, The (1995)", an original title in parentheses, the year last,
and then the exceptions: no year, a year in the middle, a range, a stray parenthesis, a trailing space, quotation marks,
and two films that share a title. The words are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_spark.generate.facts import ARTICLE_SHARE, QUIRKS
from recsys_spark.generate.films import Films
from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.words import ADJECTIVES, NAMES, NOUNS, ORIGINALS, PLACES

_SUFFIXES = ("II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")


def draw_titles(films: Films, seed: int) -> list[str]:
    """The titles of all N films as movies.csv has them, quirks included.

    Two films have one title only where `films.twin_of` says so; every quirk of `facts.QUIRKS` occurs at least once.
    """
    n = len(films.ids)
    pick = Stream(seed, "title.words").uniform(np.arange(n)[:, None], np.arange(8)[None, :])
    quirk = _deal_quirks(films, seed)
    taken: set[str] = set()
    titles: list[str] = []
    for film in range(n):
        title = _with_year(_name(pick[film], quirk[film]), int(films.years[film]), quirk[film])
        for suffix in _SUFFIXES:
            if title not in taken:
                break
            title = _with_year(f"{_name(pick[film], quirk[film])} {suffix}", int(films.years[film]), quirk[film])
        taken.add(title)
        titles.append(title)
    for twin in np.flatnonzero(films.twin_of >= 0):
        titles[twin] = titles[films.twin_of[twin]]
    return titles


def _deal_quirks(films: Films, seed: int) -> list[str]:
    """The quirk of each film ("" for most). Pairs with a shared title have no other, so that none is overwritten."""
    n = len(films.ids)
    quirk = [""] * n
    paired = np.zeros(n, bool)
    paired[films.twin_of[films.twin_of >= 0]] = True
    paired |= films.twin_of >= 0
    shuffled = np.argsort(Stream(seed, "title.quirk").bits(np.arange(n)), kind="stable")
    free = iter(shuffled[~paired[shuffled]])
    for name, share in QUIRKS.items():
        if name != "shared_title":
            for _ in range(max(1, round(share * n))):
                quirk[next(free)] = name
    return quirk


def _name(pick: NDArray[np.float64], quirk: str) -> str:
    """A title without its year, from eight uniform numbers."""
    adjective, noun, other = _choose(ADJECTIVES, pick[0]), _choose(NOUNS, pick[1]), _choose(NOUNS, pick[2])
    name, place = _choose(NAMES, pick[3]), _choose(PLACES, pick[4])
    forms = (
        f"{adjective} {noun}",
        f"{noun} of {place}",
        f"{name} and the {adjective} {noun}",
        f"{name}'s {adjective} {noun}",
        f"{adjective} {noun} of the {other}",
        f"{name} in {place}: {adjective} {noun}",
        f"{noun}, the {other} and {name}",
        f"{adjective} {noun} in {place}",
    )
    # The short forms are rarer: there are too few of them to be told apart by their year.
    form = int(np.searchsorted((0.02, 0.04, 0.22, 0.40, 0.58, 0.76, 0.79), pick[5]))
    title = forms[form]
    if quirk == "quotes":
        return f'{name} "The {noun}" of {place}'
    if quirk == "number_not_year":
        return f"1013 {noun} Lane"
    if pick[6] < ARTICLE_SHARE and form != 6:
        title = f"{title}, The"
    if quirk == "original_title":
        title = f"{title} ({_choose(ORIGINALS, pick[7]).format(name=name, place=place)})"
    return title


def _with_year(title: str, year: int, quirk: str) -> str:
    match quirk:
        case "no_year" | "number_not_year":
            return title
        case "trailing_space":
            return f"{title} ({year}) "
        case "double_parenthesis":
            return f"{title} ({year}))"
        case "year_in_the_middle":
            return f"{title} ({year}) (Another {title})"
        case "year_range":
            return f"{title} ({year}–{year + 1})"
        case "bare_year":
            return f"{title} {year}"
    return f"{title} ({year})"


def _choose(words: list[str] | tuple[str, ...], u: float) -> str:
    return words[int(u * len(words))]
