"""Free-text tags: a few users tag some of what they rate, by the film's genres or about anything. Executor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_spark.generate.facts import GENRES
from recsys_spark.generate.hashing import Stream
from recsys_spark.generate.ratings import Ratings
from recsys_spark.generate.world import World

_TAGGERS = 0.08
_TAGGED = 0.25
_ABOUT_GENRE = 0.6

_ANYTHING = """atmospheric|thought-provoking|surreal|quirky|twist ending|visually stunning|slow|too long|overrated
great ending|soundtrack|small town|friendship|revenge|memory|Rewatch|seen at a festival|boring!|beautiful, but sad
"cult classic"|based on a book|black and white|dialogue|ensemble cast|low budget|café scenes""".replace("\n", "|")
_OF_GENRE = {
    "Action": "car chase|fight scenes|stunts",
    "Adventure": "treasure hunt|jungle|quest",
    "Animation": "hand-drawn|stop motion|anime",
    "Children": "family|talking animals|coming of age",
    "Comedy": "funny|dark comedy|satire",
    "Crime": "heist|gangsters|police",
    "Documentary": "interviews|history|nature",
    "Drama": "family drama|bittersweet|courtroom",
    "Fantasy": "magic|dragons|fairy tale",
    "Film-Noir": "femme fatale|detective|shadows",
    "Horror": "haunted house|gore|scary",
    "IMAX": "big screen|space|3D",
    "Musical": "singing|dancing|stage",
    "Mystery": "whodunit|clues|suspense",
    "Romance": "love story|wedding|tearjerker",
    "Sci-Fi": "time travel|aliens|dystopia",
    "Thriller": "tense|conspiracy|kidnapping",
    "War": "World War II|soldiers|anti-war",
    "Western": "gunfight|desert|outlaws",
}


@dataclass(frozen=True)
class Tags:
    """n tags: user and item (n,) indices into the world, text, and seconds since the epoch."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    tag: list[str]
    time: NDArray[np.int64]


def draw_tags(world: World, ratings: Ratings) -> Tags:
    """The tags that go with some ratings, in their order; each is given within the user's stay, after the rating."""
    tagger = Stream(world.seed, "tag.user").uniform(ratings.user) < _TAGGERS
    chosen = tagger & (Stream(world.seed, "tag.pair").uniform(ratings.user, ratings.item) < _TAGGED)
    user, item = ratings.user[chosen], ratings.item[chosen]
    pick = Stream(world.seed, "tag.words").uniform(user[:, None], item[:, None], np.arange(3)[None, :])
    time = np.minimum(ratings.time[chosen] + 5, world.people.end[user])
    return Tags(user, item, [_tag(world.films.genres[i], p) for i, p in zip(item, pick, strict=True)], time)


def _tag(genres: NDArray[np.bool_], pick: NDArray[np.float64]) -> str:
    own = np.flatnonzero(genres)
    if len(own) == 0 or pick[0] > _ABOUT_GENRE:
        words = _ANYTHING.split("|")
    else:
        words = _OF_GENRE[tuple(GENRES)[own[int(pick[1] * len(own))]]].split("|")
    return words[int(pick[2] * len(words))]
