"""The oracles are what their definitions say: against simulation, a general optimiser, and one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from generated import ratings, world
from recsys_spark.generate import oracle
from recsys_spark.generate.oracle import Rows, expected_rating, posterior, squared_errors
from recsys_spark.generate.ratings import held_out, to_stars


def small_rows(noise: float = 0.7, k: int = 3, n: int = 24) -> Rows:
    """Two rows of ratings drawn from the model that `posterior` assumes; some at the ends of the scale."""
    rng = np.random.default_rng(4)
    x = np.column_stack([rng.normal(0, 0.8, (n, k - 1)), np.ones(n)])
    owner = np.arange(n) % 2
    theta = np.array([[0.9, -0.5, 0.8], [-0.6, 0.4, -0.9]])
    known = rng.normal(3.5, 0.5, n)
    whole = np.arange(n) % 3 == 0
    code = to_stars(known + np.sum(x * theta[owner], axis=1) + noise * rng.normal(size=n), whole)
    mean = np.array([[0.1, 0.0, 0.2], [0.0, 0.1, -0.2]])
    return Rows(owner, x, known, code, whole, mean, np.array([0.3, 0.4, 0.5]), noise)


def negative_log_posterior(rows: Rows, row: int, theta: np.ndarray) -> float:
    """Straight from the definition: probability that noise puts each opinion in its cell, times the normal prior."""
    value = 0.5 * np.sum((theta - rows.prior_mean[row]) ** 2 / rows.prior_var)
    for j in np.flatnonzero(rows.owner == row):
        stars, width = rows.code[j] / 2, 0.5 if rows.whole[j] else 0.25
        lowest = 1.0 if rows.whole[j] else 0.5
        score = rows.known[j] + rows.x[j] @ theta
        low = -np.inf if stars == lowest else stars - width
        high = np.inf if stars == 5 else stars + width
        value -= np.log(norm.cdf(high, score, rows.noise) - norm.cdf(low, score, rows.noise))
    return float(value)


def test_posterior_mode_is_the_optimiser_s() -> None:
    rows = small_rows()
    assert {2, 10} & set(rows.code.tolist()), "the example should reach an end of the scale"
    found, covariance = posterior(rows)
    for row in range(2):
        best = minimize(lambda t, row=row: negative_log_posterior(rows, row, t), np.zeros(3), tol=1e-10).x
        np.testing.assert_allclose(found[row], best, atol=0.01)
        np.testing.assert_allclose(covariance[row], covariance[row].T, atol=1e-12)
        assert np.all(np.linalg.eigvalsh(covariance[row]) > 0)
        assert np.all(np.diag(covariance[row]) < rows.prior_var)


def test_a_row_without_training_ratings_is_its_prior() -> None:
    rows = small_rows()
    only_first = replace(
        rows,
        **{name: getattr(rows, name)[rows.owner == 0] for name in ("owner", "x", "known", "code", "whole")},
    )
    theta, covariance = posterior(only_first)
    np.testing.assert_array_equal(theta[1], rows.prior_mean[1])
    np.testing.assert_allclose(covariance[1], np.diag(rows.prior_var))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("score", [0.2, 2.9, 4.8])
def test_expected_rating_against_simulation(score: float, whole: bool) -> None:
    opinions = score + 0.8 * np.random.default_rng(1).normal(size=400_000)
    simulated = (to_stars(opinions, np.full(400_000, whole)) / 2).mean()
    formula = expected_rating(np.array([score]), np.array([0.8]), np.array([whole]))[0]
    assert formula == pytest.approx(simulated, abs=0.005)


def test_predictions_never_see_the_ratings_they_are_tested_on() -> None:
    """With the prediction p fixed, (r - p)^2 at r = 2, 3, 4 has second difference 2; not so if p followed r."""
    rows, test = small_rows(), np.arange(24) == 5
    error = {}
    for stars in (2, 3, 4):
        code = rows.code.copy()
        code[5] = 2 * stars
        error[stars] = squared_errors(replace(rows, code=code), test)
    assert error[4] - 2 * error[3] + error[2] == pytest.approx(2, abs=1e-9)


def test_predictions_integrate_over_what_is_unknown() -> None:
    """Without training ratings the prediction is the mean rating over the whole prior, noise and rounding included."""
    rows = small_rows()
    rows = replace(rows, known=np.full(24, 5.0), code=np.full(24, 2, np.uint8))  # where the scale's end makes it matter
    rng = np.random.default_rng(2)
    theta = rows.prior_mean[rows.owner] + np.sqrt(rows.prior_var) * rng.normal(size=(20_000, 24, 3))
    opinion = rows.known + np.sum(rows.x * theta, axis=2) + rows.noise * rng.normal(size=(20_000, 24))
    simulated = (to_stars(opinion, np.broadcast_to(rows.whole, opinion.shape)) / 2).mean(axis=0)
    expected = np.sum((rows.code / 2 - simulated) ** 2)
    assert squared_errors(rows, np.ones(24, bool)) == pytest.approx(expected, rel=0.005)


def test_held_out_is_a_tenth_and_a_property_of_the_pair() -> None:
    w, r = world(), ratings()
    test = held_out(w, r.user, r.item)
    assert test.mean() == pytest.approx(0.1, abs=0.005)
    np.testing.assert_array_equal(held_out(w, r.user[::-1], r.item[::-1]), test[::-1])


@pytest.fixture(scope="module")
def demo_errors() -> dict[str, float]:
    w, r = world(), ratings()
    n = int(held_out(w, r.user, r.item).sum())
    square = {
        "floor": oracle.floor_errors(w, r.user, r.item, r.code) / n,
        "user": oracle.user_errors(w, r.user, r.item, r.code) / n,
        "item": oracle.item_errors(w, r.user, r.item, r.code) / n,
        "oracle": np.nan,
    }
    square["oracle"] = square["user"] + square["item"] - square["floor"]
    return {name: float(np.sqrt(value)) for name, value in square.items()}


def test_order_of_the_oracles(demo_errors: dict[str, float]) -> None:
    e = demo_errors
    assert 0.74 < e["floor"] < 0.78
    assert e["floor"] + 0.01 < min(e["user"], e["item"])
    assert max(e["user"], e["item"]) + 0.01 < e["oracle"] < 0.85
    assert e["oracle"] < 0.85 * (ratings().code / 2).std()


def test_ignoring_either_part_of_the_truth_costs(demo_errors: dict[str, float]) -> None:
    """Who predicts from the prior alone, or learns from ratings and forgets the prior, does worse than the oracle."""
    w, r = world(), ratings()
    test = held_out(w, r.user, r.item)
    only_prior = w.spread.mean + w.items.theta[r.item, -1] + w.users.prior_mean[r.user, -1]
    only_prior += np.sum(w.users.prior_mean[r.user, :-1] * w.items.theta[r.item, :-1], axis=1)
    error = np.clip(only_prior[test], 0.5, 5) - r.code[test] / 2
    assert np.sqrt(np.mean(error**2)) > demo_errors["user"] + 0.05
    flat = replace(w, users=replace(w.users, prior_var=w.users.prior_var * 1e4))
    square = oracle.user_errors(flat, r.user, r.item, r.code) / test.sum()
    assert np.sqrt(square) > demo_errors["user"] + 0.003


def test_order_of_the_ratings_does_not_matter() -> None:
    w, r = world("tiny"), ratings("tiny")
    mixed = np.random.default_rng(0).permutation(len(r.user))
    for errors in (oracle.user_errors, oracle.item_errors, oracle.floor_errors):
        straight = errors(w, r.user, r.item, r.code)
        assert errors(w, r.user[mixed], r.item[mixed], r.code[mixed]) == pytest.approx(straight, rel=1e-10)
