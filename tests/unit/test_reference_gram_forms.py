"""What an engine forms from Grams and entries alone is what the reference forms cell by cell (see docs/model.md)."""

from __future__ import annotations

import numpy as np
import pytest

from reference import dense
from reference.case import CELLS, IDS, NAMES, Case


def gram_system(c: Case, name: str, i: int) -> tuple[np.ndarray, np.ndarray, float]:
    """A (k+1, k+1), b (k+1,) and Σ y² of row i of a side with learned biases."""
    ratings, weights, other, other_bias, mu, _ = c.args(name)
    live = weights.any(0)
    seen, k, a = weights[i] > 0, other.shape[1], 0.0 if c.cells is None else c.cells.weight
    z, w, y = np.hstack([other, np.ones((len(other), 1))])[seen], weights[i][seen], (ratings[i] - mu - other_bias)[seen]
    big_a, b, yy = (z * w[:, None]).T @ z, z.T @ (w * y), float(w @ y**2)
    if a and c.cells.target is None:
        big_a[:k, :k] += a * (other[live].T @ other[live] - other[seen].T @ other[seen])
    elif a:
        t = c.cells.target - mu
        z1 = np.hstack([other, np.ones((len(other), 1)), other_bias[:, None]])[live]
        gram = z1.T @ z1  # of [p, 1, b], over the other side's rows that have ratings
        y0 = t - other_bias[seen]
        big_a += a * (gram[:-1, :-1] - z.T @ z)
        b += a * (t * gram[:-1, k] - gram[:-1, k + 1] - z.T @ y0)
        yy += a * (t * t * gram[k, k] - 2 * t * gram[k, k + 1] + gram[k + 1, k + 1] - y0 @ y0)
    return big_a, b, yy


@pytest.mark.parametrize("cells", CELLS[:3], ids=IDS[:3])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_from_the_gram_of_the_other_side(name: str, cells) -> None:
    c = Case(11, cells)
    for i in np.flatnonzero(c.live(name)):
        z, w, y = dense.row_cells(i, *c.args(name)[:5], True, c.cells)
        big_a, b, yy = gram_system(c, name, i)
        np.testing.assert_allclose(big_a, (z * w[:, None]).T @ z, atol=1e-10)
        np.testing.assert_allclose(b, z.T @ (w * y), atol=1e-10)
        assert yy == pytest.approx(w @ y**2)


@pytest.mark.parametrize("cells", CELLS[:3], ids=IDS[:3])
@pytest.mark.parametrize("name", NAMES)
def test_the_projections_normal_equations_with_a_pull(name: str, cells) -> None:
    c = Case(12, cells)
    side, pulled, k = c.sides[name], c.pull(name), c.k
    d, width = side.features.shape[1], c.k + 1
    normal = np.diag(np.hstack([side.penalty, side.penalty_bias[:, None]]).ravel())
    right = np.zeros((d, width))
    for i in np.flatnonzero(c.live(name)):  # a row without ratings adds nothing, edge or not
        big_a, b, _ = gram_system(c, name, i)
        lam = np.diag(np.r_[np.full(k, pulled.precision[i]), side.lam_bias])
        solved = np.linalg.solve(big_a + lam, np.column_stack([lam, b]))
        m, g = lam - lam @ solved[:, :-1], lam @ solved[:, -1]
        normal += np.kron(np.outer(side.features[i], side.features[i]), m)
        right += np.outer(side.features[i], g - m @ np.r_[pulled.shift[i], 0.0])
    found = np.linalg.solve(normal, right.ravel()).reshape(d, width)
    *_, expected = dense.solve_jointly(*c.args(name), **c.rest(name), pulled=pulled)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("cells", CELLS[:3], ids=IDS[:3])
@pytest.mark.parametrize("name", NAMES)
def test_the_objective_by_term_from_the_row_solutions(name: str, cells, nonnegative: bool) -> None:
    c = Case(13, cells, nonnegative=nonnegative)
    (c.half_step_in_turn if nonnegative else c.half_step)(name)  # so that the projection is not zero
    side, pulled, projection, k = c.sides[name], c.pull(name), c.state.projection[name], c.k
    factors, biases = dense.solve_rows(*c.args(name), projection, **c.rest(name), pulled=pulled)
    fit = reg = reg_bias = rest = 0.0
    prior = side.features @ projection
    _, weights, other, *_ = c.args(name)
    for i in np.flatnonzero(side.variables(c.live(name))):
        theta = np.r_[factors[i], biases[i]]
        reg += side.lam[i] * ((theta - prior[i])[:k] ** 2).sum()
        reg_bias += side.lam_bias * (theta[k] - prior[i, k]) ** 2
    for i in np.flatnonzero(c.live(name)):
        _, b, yy = gram_system(c, name, i)
        lam = np.r_[np.full(k, pulled.precision[i]), side.lam_bias]
        mean, theta = prior[i] + np.r_[pulled.shift[i], 0.0], np.r_[factors[i], biases[i]]
        fit += yy + lam @ mean**2 - theta @ (b + lam * mean) - lam @ (theta - mean) ** 2
        if cells is not None and cells.target is None:
            dots, seen, live = other @ theta[:k], weights[i] > 0, weights.any(0)
            rest += cells.weight * ((dots[live] ** 2).sum() - (dots[seen] ** 2).sum())
    found = dense.terms(c.ratings, c.weights, c.sides, c.with_side(name, factors, biases), c.cells)
    assert fit == pytest.approx(found["sse"] + found.get("unobserved", 0.0))
    assert reg == pytest.approx(found[f"reg_{name}"])
    assert reg_bias == pytest.approx(found[f"reg_{name}_bias"], abs=1e-12)
    if cells is not None and cells.target is None:
        assert rest == pytest.approx(found["unobserved"])
    v = factors - prior[:, :-1]
    edges = sum(side.graph[i, j] / 2 * ((v[i] - v[j]) ** 2).sum() for i, j in np.ndindex(side.graph.shape))
    assert side.alpha * edges == pytest.approx(found[f"graph_{name}"])
