"""Top-N against a plain twin: score every pair, sort, cut."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys_spark.kernels import topk
from recsys_spark.kernels.catalogue import GRID, PANEL, Catalogue, lengths_of
from recsys_spark.kernels.topk import SeenItems, search

MU = 3.4


def top_n_items(
    mu: float, P: NDArray, b: NDArray, Q: NDArray, c: NDArray, n: int, *seen: SeenItems, **how: int
) -> tuple:
    """`search` in all items, laid out for these users."""
    return search(Catalogue.of(Q, c, lengths_of(P)), mu, P, b, n, *seen, **how)


def twin(P: NDArray, b: NDArray, Q: NDArray, c: NDArray, n: int, seen: list[list[int]]) -> tuple[NDArray, NDArray]:
    """All scores in float64 added from the first column to the last, rounded once; stable argsort; no panels."""
    rows, scores = np.full((len(P), n), -1, np.int64), np.full((len(P), n), np.nan, np.float32)
    for user in range(len(P)):
        dot = np.zeros(len(Q))
        for column in range(P.shape[1]):
            dot = dot + np.float64(P[user, column]) * Q[:, column].astype(np.float64)
        full = ((np.float64(MU) + np.float64(b[user]) + c.astype(np.float64)) + dot).astype(np.float32)
        allowed = np.setdiff1d(np.arange(len(Q)), seen[user])
        best = allowed[np.argsort(-full[allowed].astype(np.float64), kind="stable")][:n]
        rows[user, : len(best)], scores[user, : len(best)] = best, full[best]
    return rows, scores


def draw(seed: int, users: int, items: int, rank: int, levels: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Random factors; few levels make many exact ties, 0 means normal numbers."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> NDArray:
        values = rng.integers(0, levels, shape) / 4 if levels else rng.normal(0, 0.5, shape)
        return values.astype(np.float32)

    return numbers(users, rank), numbers(users), numbers(items, rank), numbers(items)


def random_seen(seed: int, users: int, items: int) -> list[list[int]]:
    """Some users saw nothing, some a few (with repeats, unsorted), some everything."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([0, items // 3, items, 3 * items], users)
    return [
        rng.integers(0, items, size).tolist() if size < items else list(range(items)) * (size // max(items, 1))
        for size in sizes
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    users=st.integers(1, 9),
    items=st.integers(1, 200),
    rank=st.integers(0, 9),
    levels=st.sampled_from([0, 1, 2, 3]),
    n=st.integers(1, 25),
    short=st.booleans(),
    batch=st.sampled_from([1, 4, 256]),
)
@example(seed=0, users=1, items=1, rank=0, levels=1, n=1, short=False, batch=1)
@example(seed=1, users=3, items=5, rank=2, levels=0, n=20, short=True, batch=2)
def test_equals_the_twin(
    seed: int, users: int, items: int, rank: int, levels: int, n: int, short: bool, batch: int
) -> None:
    P, b, Q, c = draw(seed, users, items, rank, levels)
    seen = random_seen(seed, users, items)
    lengths = lengths_of(P[: users // 2]) if short else lengths_of(P)  # the grid may end before the longest user
    rows, scores = search(Catalogue.of(Q, c, lengths), MU, P, b, n, SeenItems.of(seen), user_batch=batch)
    expected_rows, expected_scores = twin(P, b, Q, c, n, seen)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_all_tied_gives_the_lowest_rows() -> None:
    Q = np.ones((500, 3), np.float32)
    rows, _ = top_n_items(MU, np.ones((2, 3), np.float32), np.zeros(2, np.float32), Q, np.zeros(500, np.float32), 4)
    assert rows.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("row", list(itertools.permutations([2.0**24, 0.9, -(2.0**24)])))
def test_the_best_item_is_found_where_its_product_is_zero(row: tuple[float, ...]) -> None:
    """2^24 + 0.9 − 2^24 is 0 in float32 in most orders of addition: the product alone would lose the best item."""
    others = np.zeros((40, 3), np.float32)
    others[:, 0] = np.linspace(0.01, 0.5, 40)
    Q = np.vstack([others, np.array([row], np.float32)])
    rows, scores = top_n_items(
        0.0, np.ones((1, 3), np.float32), np.zeros(1, np.float32), Q, np.zeros(41, np.float32), 2
    )
    assert rows.tolist() == [[40, 39]]
    assert scores.tolist() == [[pytest.approx(0.9), 0.5]]


def test_a_huge_user_bias_swallows_differences_and_ties_fall_to_the_lower_row() -> None:
    """At 2^24 a float32 score cannot tell neighbours apart: the order is that of scores as they are written."""
    c = np.linspace(0, 0.2, 300, dtype=np.float32)
    rows, _ = top_n_items(
        MU, np.zeros((1, 0), np.float32), np.array([2.0**24], np.float32), np.zeros((300, 0), np.float32), c, 5
    )
    assert rows.tolist() == [[0, 1, 2, 3, 4]]


def test_the_same_bits_for_any_batch_and_company() -> None:
    P, b, Q, c = draw(5, 70, 900, 24, 0)
    seen = SeenItems.of(random_seen(5, 70, 900))
    first = top_n_items(MU, P, b, Q, c, 15, seen)
    for batch in (1, 33, 70):
        other = top_n_items(MU, P, b, Q, c, 15, seen, user_batch=batch)
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])
    alone = top_n_items(
        MU, P[40:41], b[40:41], Q, c, 15, SeenItems.of([seen.items[slice(*seen.indptr[40:42])].tolist()])
    )
    np.testing.assert_array_equal(first[0][40:41], alone[0])


def test_processors_with_fewer_registers_take_fewer_users_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    P, b, Q, c = draw(11, 10, 300, 7, 0)
    first = top_n_items(MU, P, b, Q, c, 6)
    monkeypatch.setattr(topk, "TOGETHER", (0,) * (3 if len(topk.TOGETHER) == 12 else 12))
    second = top_n_items(MU, P, b, Q, c, 6)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_panels_that_cannot_win_are_skipped_and_nothing_is_lost() -> None:
    """Factors shrink along the items, as those of rare films do: a bound must end the search, and end it rightly."""
    P, b, Q, c = draw(5, 30, 6000, 8, 0)
    Q *= np.geomspace(1, 1e-3, len(Q), dtype=np.float32)[:, None]
    c *= np.float32(0.01)
    catalogue = Catalogue.of(Q, c, lengths_of(P))
    expected = twin(P, b, Q, c, 5, [[]] * 30)
    found = search(catalogue, MU, P, b, 5)
    np.testing.assert_array_equal(found[0], expected[0])
    poisoned = catalogue.panels.copy()
    poisoned[len(poisoned) // 2 :, -1] = 1e6  # better than all else, were they looked at
    poisoned = catalogue._replace(panels=poisoned)
    nobody = SeenItems.nothing(30)
    assert topk._select(poisoned, P, lengths_of(P), nobody, 5)[1].max() < 100
    poisoned = poisoned._replace(bounds=catalogue.bounds + 1e9, chunk_bounds=catalogue.chunk_bounds + 1e9)
    assert topk._select(poisoned, P, lengths_of(P), nobody, 5)[1].max() > 100


@pytest.mark.parametrize("levels", [0, 2])
def test_bounds_hold_between_the_points_of_the_grid(levels: int) -> None:
    P, _, Q, c = draw(3, 200, 700, 6, levels)
    catalogue = Catalogue.of(Q, c, lengths_of(P))
    places = lengths_of(P) / catalogue.step
    low = np.minimum(places.astype(int), GRID - 2)
    share = places - low
    products = P.astype(np.float64) @ Q.T.astype(np.float64) + c
    for panel, bounds in enumerate(catalogue.bounds):
        rows = catalogue.rows[panel * PANEL : (panel + 1) * PANEL]
        chord = bounds[low] * (1 - share) + bounds[low + 1] * share
        assert (products[:, rows[rows >= 0]].max(axis=1) <= chord + 1e-12).all()
    assert sorted(catalogue.rows[catalogue.rows >= 0]) == list(range(700))


def test_candidates_are_all_that_is_searched() -> None:
    P, b, Q, c = draw(8, 9, 300, 4, 2)
    candidates = np.array([250, 3, 17, 90, 91, 92])
    others = np.setdiff1d(np.arange(300), candidates).tolist()
    found = search(Catalogue.of(Q, c, lengths_of(P), candidates), MU, P, b, 8, SeenItems.of([[17, 17]] + [[]] * 8))
    expected = twin(P, b, Q, c, 8, [[*others, 17]] + [others] * 8)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_no_candidates() -> None:
    P, b, Q, c = draw(8, 9, 30, 4, 2)
    rows, _ = search(Catalogue.of(Q, c, lengths_of(P), np.empty(0, np.int64)), MU, P, b, 3)
    assert (rows == -1).all()


def test_seen_items_outside_the_model_are_ignored() -> None:
    P, b, Q, c = draw(5, 1, 10, 4, 0)
    c[9] = 100  # the best, and the one that index -1 would mean
    expected = top_n_items(MU, P, b, Q, c, 3, SeenItems.of([[2]]))[0]
    assert top_n_items(MU, P, b, Q, c, 3, SeenItems.of([[-1, 2, 10, 99]]))[0].tolist() == expected.tolist()


@pytest.mark.parametrize(("users", "items"), [(0, 5), (3, 0), (0, 0)])
def test_nobody_or_nothing(users: int, items: int) -> None:
    rows, scores = top_n_items(MU, *draw(0, users, items, 3, 0), 2)
    assert rows.shape == scores.shape == (users, 2)
    assert (rows == -1).all()
    assert np.isnan(scores).all()


def test_refuses_senseless_arguments() -> None:
    arrays = draw(0, 2, 5, 3, 0)
    with pytest.raises(ValueError, match="n must be at least 1, found 0"):
        top_n_items(MU, *arrays, 0)
    with pytest.raises(ValueError, match="seen items of 1 users given for 2 users"):
        top_n_items(MU, *arrays, 1, SeenItems.of([[]]))


def test_needs_no_spark() -> None:
    program = "import sys, recsys_spark.kernels.topk, recsys_spark.kernels.predict\nassert 'pyspark' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
