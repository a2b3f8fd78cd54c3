"""Non-negative solves against SciPy's, and against the optimality conditions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls

from recsys_spark.kernels import nnls as module
from recsys_spark.kernels.nnls import active_set_solve, nnls_scratch, nonnegative_solve

SEEDS = st.integers(0, 2**31)


def system_of(n: int, seed: int, reg: float = 0.05, correlated: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """S and r of a random least-squares problem; correlated columns make most bounds bind."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(int(rng.integers(1, 2 * n + 2)), n)) * rng.choice([0.1, 1.0, 10.0], n)
    if correlated:
        design = design @ rng.random((n, n)) + rng.random(n)
    scale = np.abs(design).max()
    return design.T @ design + reg * scale**2 * np.eye(n), design.T @ rng.normal(1, 2, len(design)) * scale


def solve(s: np.ndarray, r: np.ndarray, constrained: int, method=nonnegative_solve, extra: int = 0):
    """Call the kernel as the half-sweep does: upper triangle, arrays larger than the system, a used scratch."""
    n = len(r)
    upper = np.full((n + extra, n + extra), np.nan)
    upper[:n, :n] = np.where(np.triu(np.ones_like(s, bool)), s, np.nan)
    before, rhs, theta = upper.copy(), np.r_[r, np.full(extra, np.nan)], np.full(n + extra, np.nan)
    scratch = nnls_scratch(n + extra)
    for a in scratch:
        a[:] = 1
    ok = method(upper, n, constrained, rhs, theta, scratch)
    np.testing.assert_array_equal(upper, before)
    np.testing.assert_array_equal(rhs[:n], r)
    return ok, theta[:n]


def check_optimal(s: np.ndarray, r: np.ndarray, theta: np.ndarray, constrained: int) -> None:
    gradient, unit = s @ theta - r, 1e-9 * (np.abs(s) @ np.abs(theta) + np.abs(r) + 1e-300)
    bounded = np.arange(len(r)) < constrained
    assert (theta[bounded] >= 0).all()
    assert (gradient >= -unit).all()
    assert (np.abs(gradient) <= unit)[~(bounded & (theta == 0))].all()


def square_root(s: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B, y with BᵀB = S and Bᵀy = r: the same problem as SciPy wants it."""
    upper = np.linalg.cholesky(s).T
    return upper, np.linalg.solve(upper.T, r)


@pytest.mark.parametrize("method", [nonnegative_solve, active_set_solve])
@given(st.integers(1, 60), SEEDS, st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_solution_is_that_of_scipys_nnls(method, n: int, seed: int, correlated: bool) -> None:
    s, r = system_of(n, seed, correlated=correlated)
    ok, theta = solve(s, r, n, method)
    expected, _ = nnls(*square_root(s, r))
    assert ok
    check_optimal(s, r, theta, n)
    np.testing.assert_allclose(theta, expected, atol=1e-8 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("method", [nonnegative_solve, active_set_solve])
@given(st.integers(1, 40), st.integers(0, 3), SEEDS)
@settings(max_examples=60, deadline=None)
def test_free_components_may_be_negative(method, constrained: int, free: int, seed: int) -> None:
    n = constrained + free
    s, r = system_of(n, seed)
    r[constrained:] -= 5 * np.abs(r).max()
    ok, theta = solve(s, r, constrained, method, extra=3)
    low = np.r_[np.zeros(constrained), np.full(free, -np.inf)]
    expected = lsq_linear(*square_root(s, r), (low, np.inf), method="bvls", tol=1e-14).x
    assert ok
    check_optimal(s, r, theta, constrained)
    np.testing.assert_allclose(theta, expected, atol=1e-7 * max(1.0, np.abs(expected).max()))
    assert free == 0 or theta[constrained:].min() < 0


@given(st.integers(2, 12), SEEDS)
@settings(max_examples=40, deadline=None)
def test_flipping_one_at_a_time_ends_too(n: int, seed: int) -> None:
    s, r = system_of(n, seed, correlated=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SPARE", 0)
        patch.setattr(module, "active_set_solve", lambda *_: pytest.fail("fell back"))
        ok, theta = solve(s, r, n, nonnegative_solve.py_func)
    assert ok
    check_optimal(s, r, theta, n)


def test_when_flipping_goes_round_in_circles_the_active_set_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    s, r = system_of(9, 4, correlated=True)
    monkeypatch.setattr(module, "_wrong", lambda j, theta, scratch: True)
    ok, theta = solve(s, r, 9, nonnegative_solve.py_func)
    assert ok
    check_optimal(s, r, theta, 9)


def test_no_bound_binds() -> None:
    s, _ = system_of(7, 1)
    wanted = np.arange(1.0, 8.0)
    ok, theta = solve(s, s @ wanted, 7)
    assert ok
    np.testing.assert_allclose(theta, wanted, rtol=1e-10)


def test_every_bound_binds() -> None:
    s, r = system_of(7, 1)
    ok, theta = solve(s, -np.abs(r), 7)
    assert ok
    assert theta.tolist() == [0.0] * 7


def test_a_row_without_data_is_at_zero() -> None:
    ok, theta = solve(np.eye(4), np.zeros(4), 3)
    assert ok
    assert theta.tolist() == [0.0] * 4


def test_a_component_that_is_zero_by_chance() -> None:
    s, _ = system_of(6, 3)
    ok, theta = solve(s, s @ np.array([1.0, 0, 2, 0, 0, 3]), 6)
    assert ok
    np.testing.assert_allclose(theta, [1, 0, 2, 0, 0, 3], atol=1e-9)


@given(st.integers(2, 40), st.integers(0, 1), SEEDS)
@settings(max_examples=60, deadline=None)
def test_nearly_singular_systems_meet_the_conditions(n: int, free: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(max(1, n // 2), n))  # half as many ratings as components
    s, r = design.T @ design + 1e-9 * np.eye(n), design.T @ rng.normal(size=len(design))
    ok, theta = solve(s, r, n - free)
    assert ok
    check_optimal(s, r, theta, n - free)


def test_the_largest_system() -> None:
    n = 513
    s, r = system_of(n, 0)
    ok, theta = solve(s, r, n - 1)
    assert ok
    check_optimal(s, r, theta, n - 1)
    assert 50 < (theta[:-1] == 0).sum() < 500


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_systems_without_a_solution_are_refused(bad: float) -> None:
    s = np.eye(3)
    s[1, 1] = bad
    for method in (nonnegative_solve, active_set_solve):
        assert not solve(s, np.ones(3), 2, method)[0]


def test_a_target_that_is_not_finite_is_refused() -> None:
    for value in (np.nan, np.inf):
        assert not solve(np.eye(3), np.array([1.0, value, 1.0]), 3)[0]
