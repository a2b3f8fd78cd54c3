"""Ratings look like MovieLens', follow the planted scores, and depend on seed and ids alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from generated import TINY, item_counts, ratings, world
from recsys_spark.generate import selection
from recsys_spark.generate.preset import Preset
from recsys_spark.generate.ratings import draw_ratings, to_stars
from recsys_spark.generate.selection import choose_films
from recsys_spark.generate.tags import draw_tags
from recsys_spark.generate.world import World, draw_world

# Shares in ml-latest-small (100,836 ratings by 610 users; GroupLens).
REAL = {0.5: 0.014, 1: 0.028, 1.5: 0.018, 2: 0.075, 2.5: 0.055, 3: 0.199, 3.5: 0.130, 4: 0.266, 4.5: 0.085, 5: 0.131}


@pytest.mark.parametrize("name", ["demo", "1m"])
def test_histogram_is_close_to_the_real_one(name: str) -> None:
    stars = ratings(name).code / 2
    share = {value: float(np.mean(stars == value)) for value in REAL}
    for value, real in REAL.items():
        assert share[value] == pytest.approx(real, abs=0.045), value
    assert sum(share.values()) == pytest.approx(1)
    assert sorted(share, key=share.__getitem__)[-2:] in ([3, 4], [4, 3])
    assert sum(share[v] for v in (0.5, 1.5, 2.5, 3.5, 4.5)) == pytest.approx(0.30, abs=0.04)
    assert stars.mean() == pytest.approx(3.5, abs=0.06)
    assert stars.std() == pytest.approx(1.04, abs=0.04)


@pytest.mark.parametrize("name", ["demo", "1m"])
def test_every_user_rates_as_often_as_planned_and_nothing_twice(name: str) -> None:
    w, r = world(name), ratings(name)
    assert len(r.user) == w.preset.ratings
    np.testing.assert_array_equal(np.bincount(r.user), w.people.activity)
    pairs = r.user.astype(np.int64) * w.preset.films + r.item
    assert np.all(np.diff(pairs) > 0)


@pytest.mark.parametrize("name", ["demo", "1m"])
def test_popularity_is_heavy_tailed_with_rare_and_cold_films(name: str) -> None:
    count, preset = item_counts(name), world(name).preset
    assert (count > 0).sum() == preset.rated_films
    assert np.all(count[preset.rated_films :] == 0)
    assert ((count == 1) | (count == 2)).sum() >= 20
    descending = np.sort(count)[::-1]
    assert descending[0] > 0.5 * preset.users
    assert descending[: preset.films // 10].sum() > 0.45 * preset.ratings
    assert np.median(count) < 0.5 * count.mean()


def test_no_film_is_rated_before_it_appears_nor_out_of_the_user_s_stay() -> None:
    w, r = world("1m"), ratings("1m")
    assert np.all(r.time >= w.films.added[r.item])
    assert np.all(r.time >= w.people.start[r.user])
    assert np.all(r.time <= w.people.end[r.user])
    assert (r.time[1:] != r.time[:-1]).mean() > 0.9


@pytest.mark.parametrize("cuts", [[30], [1, 2, 59], list(range(1, 60))])
def test_chunks_do_not_change_the_ratings(cuts: list[int]) -> None:
    w, whole = world("tiny"), ratings("tiny")
    bounds = [0, *cuts, 60]
    parts = [draw_ratings(w, a, b) for a, b in pairwise(bounds)]
    for name in ("user", "item", "code", "time"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_both_ways_of_choosing_films_draw_from_one_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Preset("many", 4_000, 0, 200, 200, 100_000, 60, 0.4, 3.0, 0.6, 100_000)
    w = draw_world(many, 3)
    found: list[tuple[np.ndarray, float]] = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(selection, "_HEAVY_SHARE", share)
        user, item = choose_films(w, 0, many.users)
        np.testing.assert_array_equal(np.bincount(user), w.people.activity)
        found.append((np.bincount(item, minlength=200), float(w.interaction(user, item).mean())))
    (a, liked_a), (b, liked_b) = found
    assert not np.array_equal(a, b)
    assert np.sum((a - b) ** 2 / (a + b)) < 200 + 4 * np.sqrt(2 * 200)  # chi-square, 199 degrees of freedom
    assert liked_a == pytest.approx(liked_b, abs=0.01)
    assert liked_a > 0.05


def test_ratings_follow_the_planted_scores() -> None:
    w, r = world(), ratings()
    score = w.score(r.user, r.item)
    inside = (score > 2) & (score < 4)
    error = r.code[inside] / 2 - score[inside]
    assert error.mean() == pytest.approx(0, abs=0.02)
    assert error.std() == pytest.approx(np.sqrt(w.spread.noise**2 + 0.05), abs=0.04)
    scale = np.corrcoef(score, r.code)[0, 1]
    assert scale > 0.6


def test_stars_round_to_the_user_s_habit_and_stay_on_the_scale() -> None:
    opinion = np.array([-3.0, 0.6, 0.8, 2.7, 2.8, 3.24, 3.26, 4.6, 9.0])
    half = to_stars(opinion, np.zeros(9, bool)) / 2
    whole = to_stars(opinion, np.ones(9, bool)) / 2
    np.testing.assert_array_equal(half, [0.5, 0.5, 1, 2.5, 3, 3, 3.5, 4.5, 5])
    np.testing.assert_array_equal(whole, [1, 1, 1, 3, 3, 3, 3, 5, 5])


def test_users_who_give_whole_stars_do() -> None:
    w, r = world(), ratings()
    whole = w.people.whole_stars[r.user]
    assert np.all(r.code[whole] % 2 == 0)
    assert (r.code[~whole] % 2 == 1).mean() == pytest.approx(0.5, abs=0.05)


def test_tags_go_with_ratings_of_a_few_users() -> None:
    w, r = world("1m"), ratings("1m")
    tags = draw_tags(w, r)
    assert 0.01 < len(tags.tag) / len(r.user) < 0.04
    assert len(np.unique(tags.user)) / w.preset.users == pytest.approx(0.08, abs=0.015)
    rated = set(zip(r.user.tolist(), r.item.tolist(), strict=True))
    assert all(pair in rated for pair in zip(tags.user.tolist(), tags.item.tolist(), strict=True))
    assert np.all(tags.time <= w.people.end[tags.user])
    assert {"beautiful, but sad", '"cult classic"', "café scenes", "heist"} <= set(tags.tag)
    assert all(tag == tag.strip() and tag for tag in tags.tag)


def test_tags_do_not_depend_on_chunks() -> None:
    w: World = world("tiny")
    whole = draw_tags(w, ratings("tiny"))
    parts = [draw_tags(w, draw_ratings(w, a, a + 20)) for a in (0, 20, 40)]
    assert [tag for part in parts for tag in part.tag] == whole.tag
    assert TINY.users == 60
