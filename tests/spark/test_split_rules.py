"""Splits: what is tested, that every rating is in one place, and that partitions do not matter."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from recsys_spark import schema
from recsys_spark.config import SplitSettings
from recsys_spark.errors import DataError
from recsys_spark.ingest.splits import cold_items, kfold, latest_n, parts, split, time_cut

USERS, ITEMS = 60, 80
START = 946_684_800


def table() -> list[tuple[int, int, float, datetime]]:
    """User u rates u items; every three ratings of a user share a second, and days go by with the user."""
    return [
        (user, (user * 7 + n) % ITEMS, n % 10 / 2 + 0.5,
         datetime.fromtimestamp(START + 40_000 * user + n // 3, timezone.utc))
        for user in range(1, USERS + 1)
        for n in range(user)
    ]  # fmt: skip


ROWS = table()


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, schema.RATINGS_DDL).coalesce(1).cache()


def folds(df: DataFrame) -> dict[tuple[int, int], int]:
    found = df.select(schema.USER, schema.ITEM, schema.FOLD).collect()
    assert len(found) == len({row[:2] for row in found})
    return {(user, item): fold for user, item, fold in found}


RULES: dict[str, Callable[[DataFrame], DataFrame]] = {
    "kfold": lambda df: kfold(df, 5, 7),
    "latest_n": lambda df: latest_n(df, 5, 7),
    "leave_one_out": lambda df: latest_n(df, 1, 7),
    "time_cut": lambda df: time_cut(df, None, 0.2),
    "cold_items": lambda df: cold_items(df, 0.2, 7),
    "parts": lambda df: parts(kfold(df, 5, 7), 0, 0.1, 7).drop(schema.FOLD).withColumnRenamed(schema.PART, schema.FOLD),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rating_is_in_one_place_however_the_rows_lie(ratings: DataFrame, name: str) -> None:
    plain = folds(RULES[name](ratings))
    assert set(plain) == {row[:2] for row in ROWS}
    shuffled = ratings.repartition(5, schema.RATING).sortWithinPartitions(schema.ITEM)
    assert folds(RULES[name](shuffled)) == plain
    assert len(set(plain.values())) > 1


@pytest.mark.parametrize("name", RULES)
def test_columns_and_types(ratings: DataFrame, name: str) -> None:
    df = RULES[name](ratings)
    assert df.columns == [*ratings.columns, schema.FOLD]
    if name != "parts":
        assert df.schema[schema.FOLD].dataType.simpleString() == "int"


def test_kfold_sizes_and_seeds(ratings: DataFrame) -> None:
    sizes = Counter(folds(kfold(ratings, 5, 7)).values())
    assert set(sizes) == set(range(5))
    expected = len(ROWS) / 5
    assert all(abs(size - expected) < 5 * (expected * 0.8) ** 0.5 for size in sizes.values())
    assert folds(kfold(ratings, 5, 8)) != folds(kfold(ratings, 5, 7))


@pytest.mark.parametrize("n", [1, 5])
def test_latest_n_keeps_one_for_training(ratings: DataFrame, n: int) -> None:
    when = {row[:2]: row[3] for row in ROWS}
    of_user: dict[int, dict[int, list[datetime]]] = defaultdict(lambda: {0: [], -1: []})
    for (user, item), fold in folds(latest_n(ratings, n, 7)).items():
        of_user[user][fold].append(when[user, item])
    assert len(of_user) == USERS
    for user, sides in of_user.items():
        assert len(sides[0]) == min(n, user - 1)
        assert sides[-1]
        assert not sides[0] or min(sides[0]) >= max(sides[-1])


def test_ties_are_drawn_and_not_decided_by_the_item(ratings: DataFrame) -> None:
    first, second = (folds(latest_n(ratings, 1, seed)) for seed in (1, 2))
    assert first != second
    tied = {user: [row[1] for row in ROWS if row[0] == user][-3:] for user in range(3, USERS + 1, 3)}
    chosen = Counter(tied[user].index(item) for (user, item), fold in first.items() if fold == 0 and user in tied)
    assert len(chosen) == 3


def test_time_cut_by_share_is_exact(ratings: DataFrame) -> None:
    when = {row[:2]: row[3] for row in ROWS}
    for share in (0.01, 0.2, 0.5, 0.99):
        found = folds(time_cut(ratings, None, share))
        test = [when[key] for key, fold in found.items() if fold == 0]
        train = [when[key] for key, fold in found.items() if fold == -1]
        assert max(train) < min(test)
        more = sum(moment == max(train) for moment in train)
        assert len(test) <= share * len(ROWS) < len(test) + more


def test_time_cut_by_date_is_midnight_utc(ratings: DataFrame) -> None:
    cut = date(2000, 1, 10)
    midnight = datetime(2000, 1, 10, tzinfo=timezone.utc)
    expected = {row[:2]: 0 if row[3] >= midnight else -1 for row in ROWS}
    assert folds(time_cut(ratings, cut, 0.5)) == expected


def test_a_time_cut_needs_both_sides(ratings: DataFrame) -> None:
    with pytest.raises(DataError, match=r"at 1999-01-01 00:00:00 UTC leaves no ratings before it: .* from 2000-01-01"):
        time_cut(ratings, date(1999, 1, 1), 0.1)
    with pytest.raises(DataError, match="at 2010-01-01 00:00:00 UTC leaves no ratings after it"):
        time_cut(ratings, date(2010, 1, 1), 0.1)
    with pytest.raises(DataError, match="leaves no ratings after it"):
        time_cut(ratings, None, 1e-6)
    with pytest.raises(DataError, match="needs ratings with timestamps, found none"):
        time_cut(ratings.limit(0), None, 0.1)


def test_cold_items_lose_all_their_ratings(ratings: DataFrame) -> None:
    of_item = defaultdict(set)
    for (_, item), fold in folds(cold_items(ratings, 0.2, 7)).items():
        of_item[item].add(fold)
    assert all(len(seen) == 1 for seen in of_item.values())
    cold = sum(seen == {0} for seen in of_item.values())
    assert 8 <= cold <= 25


def test_parts_leave_the_test_fold_alone_and_draw_validation_from_the_others(ratings: DataFrame) -> None:
    df = kfold(ratings, 5, 7)
    rows = parts(df, 2, 0.2, 7).select(schema.USER, schema.ITEM, schema.FOLD, schema.PART).collect()
    assert all((fold == 2) == (part == "test") for *_, fold, part in rows)
    others = Counter(part for *_, fold, part in rows if fold != 2)
    assert others["validation"] / sum(others.values()) == pytest.approx(0.2, abs=0.03)
    per_fold = Counter(fold for *_, fold, part in rows if part == "validation")
    assert all(per_fold[fold] > 30 for fold in (0, 1, 3, 4))
    assert parts(df, 0, 0.0, 7).where("part = 'validation'").isEmpty()


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"kind": "kfold", "folds": 5}, "kfold"),
        ({"kind": "latest_n", "n": 5}, "latest_n"),
        ({"kind": "leave_one_out"}, "leave_one_out"),
        ({"kind": "time_cut", "share": 0.2}, "time_cut"),
        ({"kind": "cold_items", "share": 0.2}, "cold_items"),
    ],
)
def test_settings_name_the_rule(ratings: DataFrame, settings: dict[str, Any], rule: str) -> None:
    assert folds(split(ratings, SplitSettings(**settings))) == folds(RULES[rule](ratings))
