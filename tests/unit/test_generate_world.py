"""Films, users and planted parameters have the sizes that were asked for and the shapes of the real thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from generated import TINY, world
from recsys_spark.errors import ConfigError
from recsys_spark.generate import facts
from recsys_spark.generate.preset import PRESETS, find_preset
from recsys_spark.generate.ratings import draw_ratings
from recsys_spark.generate.taste import SPREAD, item_features
from recsys_spark.generate.world import draw_world


def explained(target: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Share of the variance of the columns of `target` that a least-squares fit on `x` explains."""
    x = np.column_stack([np.ones(len(x)), x])
    left = target - x @ np.linalg.lstsq(x, target, rcond=None)[0]
    return 1 - float(left.var(axis=0).sum() / target.var(axis=0).sum())


def test_same_seed_same_world_another_seed_another() -> None:
    first, again, other = draw_world(TINY, 5), draw_world(TINY, 5), draw_world(TINY, 6)
    np.testing.assert_array_equal(first.items.theta, again.items.theta)
    np.testing.assert_array_equal(first.people.end, again.people.end)
    assert not np.array_equal(first.items.theta, other.items.theta)
    assert not np.array_equal(first.people.activity, other.people.activity)


@pytest.mark.parametrize("name", ["demo", "1m", "32m", "320m"])
def test_sizes_are_exact(name: str) -> None:
    w, preset = world(name), PRESETS[name]
    assert int(w.people.activity.sum()) == preset.ratings
    assert w.people.activity.min() == 20
    assert w.people.activity.max() == preset.top_activity
    assert len(w.people.ids) == preset.users + preset.cold_users
    assert len(w.films.ids) == len(w.items.theta) == preset.films
    assert w.films.rated == preset.rated_films < preset.films
    assert w.chunks[0] == 0
    assert w.chunks[-1] == preset.users


def test_32m_is_the_real_thing_s_size() -> None:
    preset = PRESETS["32m"]
    assert (preset.users, preset.films, preset.rated_films) == (200_948, 87_585, 84_432)
    assert preset.ratings == 32_000_204
    assert np.median(world("32m").people.activity) == pytest.approx(70, abs=15)


def test_the_most_popular_film_of_32m_has_about_100_000_ratings() -> None:
    # By a sample of four of its 128 ranges of users; the release has 97,260.
    w = world("32m")
    drawn = [draw_ratings(w, *w.chunks[chunk : chunk + 2].tolist()).item for chunk in (3, 40, 77, 110)]
    counts = np.bincount(np.concatenate(drawn))
    assert counts.max() / counts.sum() * w.preset.ratings == pytest.approx(97_260, rel=0.07)


@pytest.mark.parametrize("name", ["demo", "1m"])
def test_activity_is_heavy_tailed(name: str) -> None:
    activity = np.sort(world(name).people.activity)[::-1]
    top_tenth = activity[: len(activity) // 10].sum() / activity.sum()
    assert 0.35 < top_tenth < 0.6
    assert np.median(activity) < 0.65 * activity.mean()


def test_genres_and_years_have_their_real_shares() -> None:
    films = world("32m").films
    none = ~films.genres.any(axis=1)
    assert none.mean() == pytest.approx(facts.NO_GENRES_SHARE, abs=0.003)
    shares = films.genres[~none].mean(axis=0)
    for share, (genre, (real, *_)) in zip(shares, facts.GENRES.items(), strict=True):
        assert share == pytest.approx(real, abs=0.015), genre
    for first, length, real in facts.YEARS:
        span = (films.years >= first) & (films.years < first + length)
        assert span.mean() == pytest.approx(real, abs=0.005), first


def test_genres_that_go_together_do() -> None:
    genres, names = world("32m").films.genres, list(facts.GENRES)

    def lift(a: str, b: str) -> float:
        x, y = genres[:, names.index(a)], genres[:, names.index(b)]
        return float((x & y).mean() / (x.mean() * y.mean()))

    assert lift("Animation", "Children") > 2
    assert lift("Crime", "Thriller") > 1.5
    assert lift("Documentary", "Sci-Fi") < 0.7


def test_ids_are_unique_with_gaps_that_widen() -> None:
    ids = np.sort(world("1m").films.ids)
    gaps = np.diff(ids)
    assert gaps.min() == 1
    assert gaps[-500:].mean() > 2 * gaps[:500].mean()
    assert np.array_equal(world().people.ids, np.arange(1, 1011))


def test_films_appear_over_time_and_not_before_their_year() -> None:
    films = world("1m").films
    assert np.all(np.diff(films.added[: films.rated]) >= 0)
    assert films.added.min() == facts.SITE_OPENS
    year_added = 1970 + films.added / (365.2425 * 86_400)
    assert np.all((year_added + 0.01 >= films.years) | (films.years < 1996))
    assert (films.added == facts.SITE_OPENS).mean() < 0.25
    assert (year_added > 2010).mean() > 0.3


def test_users_come_and_go() -> None:
    people = world("1m").people
    assert np.all(people.start >= facts.SITE_OPENS)
    assert np.all(people.start <= people.end)
    assert people.end.max() <= facts.SITE_CLOSES
    days = (people.end - people.start) / 86_400
    assert np.median(days) < 1
    assert np.quantile(days, 0.9) > 100
    films = world("1m").films
    seen = np.searchsorted(films.added[: films.rated], people.end, side="right")
    assert np.all(people.activity <= 0.6 * seen + 1)


def test_planted_parameters_follow_groups_genres_and_years() -> None:
    w = world("1m")
    q, c = w.items.theta[:, :-1], w.items.theta[:, -1:]
    assert q.shape[1] == 8
    assert explained(q, item_features(w.films)) == pytest.approx(SPREAD.genre_share + SPREAD.year_share, abs=0.05)
    known = SPREAD.genre_bias_share + SPREAD.year_bias_share
    assert explained(c, item_features(w.films)) == pytest.approx(known, abs=0.08)
    groups = np.eye(len(facts.GROUPS))[w.people.group[: w.preset.users]]
    assert explained(w.users.theta[:, :-1], groups) == pytest.approx(SPREAD.group_share, abs=0.05)
    assert explained(w.users.theta[:, :-1], np.roll(groups, 1, axis=0)) < 0.01
    rank = w.films.rank[: w.films.rated]
    assert np.corrcoef(c[: w.films.rated, 0], -rank)[0, 1] > 0.3


def test_priors_are_what_the_parameters_were_drawn_from() -> None:
    for side in (world("1m").users, world("1m").items):
        free = side.theta - side.prior_mean
        np.testing.assert_allclose(free.var(axis=0), side.prior_var, rtol=0.12)
        np.testing.assert_allclose(free.mean(axis=0), 0, atol=0.03)


def test_interaction_is_as_strong_as_planned() -> None:
    w = world("1m")
    rng = np.random.default_rng(0)
    user, item = rng.integers(w.preset.users, size=100_000), rng.integers(w.preset.films, size=100_000)
    assert w.interaction(user, item).std() == pytest.approx(SPREAD.interaction, rel=0.05)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'demmo'.*Did you mean 'demo'\?.*Known: demo, 1m, 32m"):
        find_preset("demmo")
    with pytest.raises(ConfigError, match=r"unknown preset 'zzz' of the generator. Known"):
        find_preset("zzz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rated_films": 241}, "rated_films must be in 1..films, found 241 of 240"),
        ({"top_activity": 200}, "top_activity must be in 20..132 for the films, found 200"),
        ({"ratings": 100}, "ratings must be in 1300..7200 for the users, found 100"),
        ({"ratings": 10**6}, "ratings must be in 1300..7200 for the users, found 1000000"),
    ],
)
def test_impossible_presets_say_why(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY, **change)


def test_too_few_ratings_for_the_films() -> None:
    crowded = replace(TINY, users=2, films=3_000, rated_films=3_000, ratings=40, top_activity=20)
    with pytest.raises(ConfigError, match="40 ratings are too few to reach 3000 films"):
        draw_world(crowded, 1)


@pytest.mark.parametrize("ratings", [60 * 20 + 100, 60 * 120])
def test_extreme_totals_are_still_exact(ratings: int) -> None:
    activity = draw_world(replace(TINY, ratings=ratings), 1).people.activity
    assert activity.sum() == ratings
    assert activity.min() >= 20
    assert activity.max() == 120
