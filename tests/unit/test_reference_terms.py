"""The reference's own terms: J against loops over cells, updates against derivatives, and J never rises.

The engine is tested against the reference; here the reference is tested against the definition.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from reference import dense
from reference.case import CELLS, IDS, NAMES, Case
from reference.dense import Side, State, Unobserved


def gradient(f, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences, exact for quadratic f but for rounding."""
    out = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[at] = step
        out[at] = (f(x + d) - f(x - d)) / (2 * step)
    return out


@pytest.mark.parametrize("cells", CELLS, ids=IDS)
def test_the_objective_is_its_definition_cell_by_cell(cells) -> None:
    c = Case(1, cells)
    s, total = c.state, 0.0
    live_u, live_i = (c.live(n) for n in NAMES)
    for u, i in np.ndindex(c.shape):
        dot = s.factors["user"][u] @ s.factors["item"][i]
        score = s.mu + s.biases["user"][u] + s.biases["item"][i] + dot
        if c.weights[u, i]:
            total += c.weights[u, i] * (c.ratings[u, i] - score) ** 2
        elif c.cells is not None and live_u[u] and live_i[i]:
            total += c.cells.weight * (dot if c.cells.target is None else score - c.cells.target) ** 2
    for name in NAMES:
        side, live = c.sides[name], c.live(name)
        for i, j in np.ndindex(side.graph.shape):
            v, z = (s.factors[name][r] - s.projection[name][:, :-1].T @ side.features[r] for r in (i, j))
            total += side.alpha / 2 * side.graph[i, j] * ((v - z) ** 2).sum()
        for i in np.flatnonzero(live | side.graph.any(1)):
            prior = s.projection[name].T @ side.features[i]
            total += side.lam[i] * ((s.factors[name][i] - prior[:-1]) ** 2).sum()
            total += side.lam_bias * (s.biases[name][i] - prior[-1]) ** 2
        total += (side.penalty * s.projection[name][:, :-1] ** 2).sum()
        total += (side.penalty_bias * s.projection[name][:, -1] ** 2).sum()
    assert c.objective() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("cells", CELLS, ids=IDS)
@pytest.mark.parametrize("name", NAMES)
def test_rows_without_a_graph_are_stationary(name: str, cells) -> None:
    c = Case(2, cells, alpha=0.0)
    factors, biases = dense.solve_rows(*c.args(name), c.state.projection[name], **c.rest(name))
    at = gradient(lambda q: c.objective(c.with_side(name, q, biases)), factors)
    np.testing.assert_allclose(at[c.live(name)], 0, atol=1e-7)
    assert not at[~c.live(name)].any()
    if c.learned:
        slope = gradient(lambda b: c.objective(c.with_side(name, factors, b)), biases)
        np.testing.assert_allclose(slope[c.live(name)], 0, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_touches_the_objective_and_lies_above_it(name: str) -> None:
    c, rng = Case(3), np.random.default_rng(0)
    side, d = c.sides[name], c.state.projection[name].shape
    c.state = c.with_side(name, projection=rng.normal(size=d))
    pulled = c.pull(name)
    plain = replace(side, graph=None, alpha=0.0)
    live = side.variables(c.live(name))

    def bound(state: State) -> float:
        v = state.factors[name] - side.features @ state.projection[name][:, :-1]
        pulls = (pulled.precision * ((v - pulled.shift) ** 2).sum(1))[live].sum()
        sides = c.sides | {name: plain}
        t = dense.terms(c.ratings, c.weights, sides, state)
        prior = (side.features @ state.projection[name])[:, -1]
        edges_only = live & ~c.live(name)
        lone = side.lam_bias * ((state.biases[name] - prior) ** 2)[edges_only].sum()
        return sum(t.values()) - t[f"reg_{name}"] + pulls + lone

    gap = c.objective() - bound(c.state)
    for scale in (1e-3, 0.1, 1, 10):
        moved = c.with_side(
            name,
            c.state.factors[name] + scale * rng.normal(size=(c.shape[name == "item"], c.k)),
            c.state.biases[name] + scale * rng.normal(size=c.shape[name == "item"]),
            c.state.projection[name] + scale * rng.normal(size=d),
        )
        assert c.objective(moved) <= bound(moved) + gap + 1e-9


@pytest.mark.parametrize("cells", CELLS, ids=IDS)
@pytest.mark.parametrize("name", NAMES)
def test_half_steps_of_one_side_arrive_at_the_exact_minimum(name: str, cells) -> None:
    c = Case(4, cells)
    exact = dense.solve_jointly(*c.args(name), **c.rest(name))
    best = c.objective(c.with_side(name, *exact))
    gaps = []
    for _ in range(400):
        c.half_step(name)
        gaps.append(c.objective() - best)
    assert gaps[-1] == pytest.approx(0, abs=1e-8 * best)
    assert (np.diff(gaps) <= 1e-9 * best).all()
    np.testing.assert_allclose(c.state.factors[name], exact[0], atol=1e-4)
    at = gradient(lambda q: c.objective(c.with_side(name, q)), exact[0])
    np.testing.assert_allclose(at, 0, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "weighted", "inverse_sqrt"])
@pytest.mark.parametrize("cells", CELLS, ids=IDS)
def test_the_objective_never_rises(cells, mode: str) -> None:
    for seed in range(4):
        c = Case(seed, cells, mode=mode, alpha=[0.7, 30.0][seed % 2])
        seen = [c.objective()]
        for _, name in itertools.product(range(12), ("item", "user")):
            c.half_step(name)
            seen.append(c.objective())
        assert all(b <= a * (1 + 1e-10) for a, b in itertools.pairwise(seen))
        assert seen[-1] < 0.9 * seen[0]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("cells", CELLS, ids=IDS)
def test_the_objective_never_rises_without_negative_factors(cells, exact: bool) -> None:
    for seed in range(4):
        c = Case(seed, cells, nonnegative=True)
        seen = [c.objective()]
        for _, name in itertools.product(range(12), ("item", "user")):
            c.half_step_in_turn(name, exact)
            seen.append(c.objective())
        assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(seen))
        assert all((c.state.factors[n] >= 0).all() for n in NAMES)
        assert any((c.state.factors[n] == 0).any() for n in NAMES)


def test_a_row_solved_without_negative_factors_is_optimal() -> None:
    c = Case(5, Unobserved(0.2, 1.0), alpha=0.0, nonnegative=True)
    factors, biases = dense.solve_rows(*c.args("item"), c.state.projection["item"], **c.rest("item"))
    at, live = gradient(lambda q: c.objective(c.with_side("item", q, biases)), factors), c.live("item")
    zero = factors == 0
    assert (zero & live[:, None]).any()
    assert (at[zero] >= -1e-6).all()
    np.testing.assert_allclose(at[~zero & live[:, None]], 0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_projection_alone_is_stationary(name: str) -> None:
    c = Case(6)
    s = c.state
    found = dense.solve_projection(c.sides[name], s.factors[name], s.biases[name], c.live(name))
    at = gradient(lambda w: c.objective(c.with_side(name, projection=w)), found)
    np.testing.assert_allclose(at, 0, atol=1e-6)


def test_rows_without_ratings_follow_their_neighbours_and_lone_ones_their_features() -> None:
    c = Case(7)
    for _ in range(400):
        c.half_step("item")
    side, s = c.sides["item"], c.state
    prior = side.features @ s.projection["item"]
    v = s.factors["item"] - prior[:, :-1]
    np.testing.assert_allclose(v[0], 0, atol=1e-12)
    weights = side.alpha * side.graph[1]
    np.testing.assert_allclose(v[1], weights @ v / (side.lam[1] + weights.sum()), atol=1e-8)
    assert np.abs(v[1]).max() > 1e-3
    np.testing.assert_allclose(s.biases["item"][:2], prior[:2, -1], atol=1e-12)


def test_implicit_rows_are_those_of_hu_koren_and_volinsky() -> None:
    rng = np.random.default_rng(8)
    r, mask = rng.integers(-2, 6, (7, 6)).astype(float), rng.random((7, 6)) < 0.5
    y, alpha, lam = rng.normal(size=(6, 3)), 2.0, 0.1
    preference, confidence, cells = dense.implicit(r, mask, alpha)
    n = ((r > 0) & mask).sum(1)
    side = Side(np.zeros((7, 0)), lam * n, 0.0, np.zeros((0, 3)), np.zeros(0))
    live = mask.any(0)
    got, _ = dense.solve_rows(
        preference, confidence, y, np.zeros(6), 0.0, side, np.zeros((0, 4)), False, np.zeros(7), cells
    )
    for u in np.flatnonzero(mask.any(1)):
        c = np.diag(np.where(mask[u], 1 + alpha * np.abs(r[u]), 1.0) * live)
        p = ((r[u] > 0) & mask[u]) * 1.0
        expected = np.linalg.lstsq(y.T @ c @ y + lam * n[u] * np.eye(3), y.T @ c @ p, rcond=None)[0]
        np.testing.assert_allclose(got[u], expected, atol=1e-10)
