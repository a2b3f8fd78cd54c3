"""Every term of the model and their combinations: the engine's half-steps are those of the dense reference."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fit_bits import Disk, bits
from problems import graph_table, problem
from recsys_spark.als import project
from recsys_spark.als.orders import Facts, Orders
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.train import HalfStep, train
from recsys_spark.als.work import Shown
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import FitError
from reference import dense
from terms_case import CELLS, NAMES, TermsCase

SIDE = SideSettings(reg=1.3, reg_bias=0.9, reg_features=1.1, reg_feature_bias=0.7)


def case(cells: str = "none", mode: str = "constant", seed: int = 0, **changes) -> TermsCase:
    side = SIDE.model_copy(
        update={"reg_mode": mode, "reg": 0.2 if mode == "weighted" else 1.3, **changes.pop("side", {})}
    )
    weighted = changes.pop("weighted", True)
    settings = AlsSettings(
        **{"rank": 3, "max_iter": 4, "seed": seed, "user": side, "item": side, **CELLS[cells], **changes}
    )
    return TermsCase(settings, seed, weighted)


def check_half_steps(c: TermsCase) -> None:
    """Each half-step is the reference's from the state before it; each term of J is the reference's."""
    for number, ((_, before, _), (side, after, terms)) in enumerate(itertools.pairwise(c.steps), 1):
        name, iteration = NAMES[side], 1 + number // 2
        length = min(c.settings.relaxation, 2 * iteration / (iteration + 1)) if side == ITEMS else 1.0
        pulled = dense.pull(c.sides[name], before.factors[name], before.projection[name])
        rest = c.rest(side, before)
        if c.settings.nonnegative:
            projection = dense.solve_projection(
                c.sides[name], before.factors[name], before.biases[name], c.live(name), rest["learned"], pulled
            )
        else:
            *_, projection = dense.solve_jointly(*c.args(name, before), **rest, pulled=pulled)
        step = after.projection[name] - before.projection[name]
        found = before.projection[name] + step / (1.0 if c.settings.nonnegative else length)
        np.testing.assert_allclose(found, projection, atol=5e-4)
        factors, biases = dense.solve_rows(*c.args(name, before), found, **rest, pulled=pulled)
        live = c.sides[name].variables(c.live(name))[:, None] | (not c.settings.nonnegative)
        lengths, further = dense.beyond(before.factors[name], factors, length, c.settings.nonnegative)
        factors = np.where(live, further, factors)
        biases = np.where(live[:, 0], before.biases[name] + lengths * (biases - before.biases[name]), biases)
        np.testing.assert_allclose(after.factors[name], factors, atol=2e-4)
        np.testing.assert_allclose(after.biases[name], biases, atol=2e-4)
        found = asdict(terms)
        expected = c.terms(after)
        for other, learned in zip(NAMES, c.learned, strict=True):
            if not learned:  # a constant that the engine leaves out
                expected[f"reg_{other}_bias"] = 0.0
        for term, value in expected.items():
            assert found[term] == pytest.approx(value, rel=3e-4, abs=3e-4), term
    totals = [terms.objective for *_, terms in c.steps]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(totals))


@pytest.mark.parametrize("mode", ["constant", "weighted", "inverse_sqrt"])
@pytest.mark.parametrize("cells", list(CELLS))
def test_cells_without_a_rating(cells: str, mode: str) -> None:
    for seed in range(3):
        c = case(cells, mode, seed)
        c.run((2, 3))
        assert c.steps[-1][2].unobserved > 0 or cells == "none"
        check_half_steps(c)


@pytest.mark.parametrize("mode", ["constant", "weighted", "inverse_sqrt"])
def test_λ_grows_with_the_ratings_on_top_of_every_mode(mode: str) -> None:
    c = case("none", mode, 1, side={"reg_per_rating": 0.4})
    c.run((2, 3))
    check_half_steps(c)


@pytest.mark.parametrize("cells", list(CELLS))
def test_factors_without_negative_entries(cells: str) -> None:
    for seed in range(3):
        c = case(cells, seed=seed, nonnegative=True)
        model = c.run((2, 3))
        assert min(model.user.factors.min(), model.item.factors.min()) == 0
        check_half_steps(c)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("mode", ["constant", "weighted"])
@pytest.mark.parametrize("cells", list(CELLS))
def test_a_graph_on_both_sides(cells: str, mode: str, nonnegative: bool) -> None:
    for seed in range(2):
        c = case(cells, mode, seed, side={"graph": 0.7}, nonnegative=nonnegative)
        c.run((2, 3))
        assert min(c.steps[-1][2].graph_user, c.steps[-1][2].graph_item) > 0
        check_half_steps(c)


@pytest.mark.parametrize("bias", ["learned", "static", "none"])
@pytest.mark.parametrize("cells", list(CELLS))
def test_cells_without_a_rating_in_each_bias_mode(cells: str, bias: str) -> None:
    c = case(cells, seed=5, side={"bias": bias}, mean="fitted")
    c.run()
    check_half_steps(c)


ALL = {"graph": 0.7}
COMBINATIONS = list(itertools.product(CELLS, [False, True], ["learned", "none"]))


@pytest.mark.parametrize(("cells", "nonnegative", "bias"), COMBINATIONS)
def test_the_same_bits_for_every_grid_with_all_terms_on(cells: str, nonnegative: bool, bias: str) -> None:
    c = case(cells, "weighted", 3, side=ALL | {"bias": bias}, nonnegative=nonnegative)
    first = bits(c.run())
    assert all(bits(c.run(grid)) == first for grid in [(2, 3), (8, 8)])


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("cells", list(CELLS))
def test_the_objective_falls_at_every_half_step(cells: str, nonnegative: bool) -> None:
    p = problem(seed=2)
    rng = np.random.default_rng(0)
    for s, table in ((USERS, p.user_features), (ITEMS, p.item_features)):
        p.graphs[s] = graph_table(*random_graph(rng, table["id"].to_numpy()))
    side = SideSettings(reg=2.0, reg_bias=1.0, reg_features=1.5, reg_feature_bias=1.5, graph=0.8)
    settings = AlsSettings(rank=4, max_iter=12, user=side, item=side, nonnegative=nonnegative, **CELLS[cells])
    seen: list[float] = []
    train(
        p.executor(2, 2), settings, p.columns,
        watch=lambda e: seen.append(e.terms.objective) if isinstance(e, HalfStep) else None,
    )  # fmt: skip
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(seen))
    assert seen[-1] < 0.95 * seen[0]


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("cells", ["none", "number", "implicit"])
def test_a_projection_too_large_to_solve_directly(
    monkeypatch: pytest.MonkeyPatch, cells: str, nonnegative: bool
) -> None:
    """By conjugate gradients: J falls, to where the direct solve ends; the same bits for every grid."""
    direct = case(cells, seed=1, side=ALL, nonnegative=nonnegative, max_iter=40)
    best = direct.run().history["objective"].to_pylist()[-1]
    monkeypatch.setattr(project, "MAX_UNKNOWNS", 0)
    c = case(cells, seed=1, side=ALL, nonnegative=nonnegative, max_iter=40)
    first = bits(c.run())
    totals = [terms.objective for *_, terms in c.steps]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(totals))
    assert totals[-1] == pytest.approx(best, rel=1e-4)
    assert bits(c.run((3, 2))) == first


@pytest.mark.parametrize("cells", ["baseline", "number"])
def test_a_pair_rated_twice_is_one_cell(cells: str) -> None:
    c = case(cells, seed=4, weighted=False)
    rows = c.problem.ratings
    c.problem.ratings = pa.concat_tables([rows, rows.slice(0, 1)])
    c.weights[rows["user"][0].as_py(), rows["item"][0].as_py()] = 2.0
    c.run((2, 2))
    check_half_steps(c)


def test_implicit_feedback_counts_entries_of_a_pair_as_pyspark_does() -> None:
    """For each entry c - 1 in the left-hand side beside the Gram of all items, and c in the right-hand side."""
    c = case("implicit", seed=4, weighted=False)
    rows = c.problem.ratings
    c.problem.ratings = pa.concat_tables([rows, rows.slice(0, 1)])
    u, twice = rows["user"][0].as_py(), rows["item"][0].as_py()
    c.run((2, 2))
    _, state, terms = c.steps[-1]
    q, live = state.factors["item"], c.live("item")
    left, right = q[live].T @ q[live], np.zeros(3)
    for i in [*np.flatnonzero(c.mask[u]), twice]:
        left += (c.weights[u, i] - 1) * np.outer(q[i], q[i])
        right += c.weights[u, i] * c.ratings[u, i] * q[i]
    prior = c.x[0][u] @ state.projection["user"][:, :-1]
    expected = np.linalg.solve(left + 1.3 * np.eye(3), right + 1.3 * prior)
    np.testing.assert_allclose(state.factors["user"][u], expected, atol=2e-4)
    totals = [terms.objective for *_, terms in c.steps]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(totals))
    score = state.factors["user"] @ q.T
    again = c.weights[u, twice] * (c.ratings[u, twice] - score[u, twice]) ** 2 - score[u, twice] ** 2
    assert terms.objective == pytest.approx(sum(c.terms(state).values()) + again, rel=1e-4)


@pytest.mark.parametrize("cells", list(CELLS))
def test_a_resumed_fit_has_the_same_bits_with_all_terms_on(tmp_path: Path, cells: str) -> None:
    c = case(cells, seed=6, side=ALL, max_iter=6)
    first = bits(c.run())
    disk = Disk(tmp_path, every=2, die_after=4)
    p = c.problem
    with pytest.raises(KeyboardInterrupt):
        train(p.executor(), c.settings, p.columns, checkpoints=disk)
    assert bits(train(p.executor(2, 2), c.settings, p.columns, checkpoints=disk)) == first


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_row_without_a_unique_solution_is_named(nonnegative: bool) -> None:
    p = problem(user_d=0, item_d=0, density=0.05)
    side = SideSettings(reg=0.0, reg_bias=1.0)
    settings = AlsSettings(rank=3, user=side, item=side, nonnegative=nonnegative)
    with pytest.raises(FitError, match=r"(user|item) \d+ has no unique solution.*raise the (user|item)'s reg"):
        train(p.executor(), settings, p.columns)


def test_factors_of_runaway_size_are_refused() -> None:
    c = case("number")
    c.settings = c.settings.model_copy(update={"clip": (0.0, 6.0)})
    orders = orders_of(c)
    order = orders.order(USERS)
    shown = Shown(np.zeros((2, 15), np.int64), 2.0 * order.gram_grid.largest, 0.0)
    with pytest.raises(FitError, match="user factors grew to .*, more than a millionfold in one half-sweep: raise reg"):
        orders.see(order, shown)


def orders_of(c: TermsCase) -> Orders:
    executor = c.problem.executor()
    facts = Facts.merged(*executor.survey(c.settings.feedback))
    return Orders(c.settings, facts, 3.0, c.problem.columns)


def random_graph(rng: np.random.Generator, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(ids)
    s = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.15), 1)
    return s + s.T, ids


def test_factors_begin_without_negative_entries_where_they_may_not_have_any() -> None:
    free, bounded = (case(nonnegative=bound, max_iter=0).run() for bound in (False, True))
    assert free.user.factors.min() < 0
    np.testing.assert_array_equal(bounded.user.factors, np.abs(free.user.factors))


def test_unrated_rows_that_only_know_one_another_stay_at_their_prior() -> None:
    """With λ(0) = 0 nothing would ever pull them there from a random start."""
    c = case("none", "weighted", side=ALL)
    lonely = np.zeros((8, 8))
    lonely[0, 1] = lonely[1, 0] = 1.0
    c.problem.graphs[ITEMS] = graph_table(lonely)
    model = c.run((1, 2))
    prior = c.x[ITEMS][:2] @ model.item.projection
    assert np.abs(prior).min() > 1e-3
    np.testing.assert_allclose(model.item.factors[:2], prior, atol=1e-6)


def test_a_resumed_fit_sums_its_grams_on_the_grid_it_had() -> None:
    orders = orders_of(case("number"))
    order = orders.order(USERS)
    assert order.gram_grid is not None
    orders.see(order, Shown(np.zeros((2, 15), np.int64), 40.0, 0.0))
    assert orders.order(USERS).gram_grid != order.gram_grid
    assert orders.show_order(USERS, orders.gram_bounds()[USERS]).gram_grid == order.gram_grid


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_warm_start_with_all_terms_on_goes_on_below_where_the_model_was(nonnegative: bool) -> None:
    c = case("number", "weighted", seed=2, side=ALL, nonnegative=nonnegative)
    model = c.run()
    before = c.steps[-1][2]
    seen: list = []

    def watch(event: object) -> None:
        if isinstance(event, HalfStep):
            seen.append(event.terms)

    train(c.problem.executor(2, 2), c.settings, c.problem.columns, initial=model, watch=watch)
    assert seen[0].objective <= before.objective * (1 + 1e-6)
    assert seen[0].reg_user == pytest.approx(before.reg_user)
    assert seen[0].graph_user == pytest.approx(before.graph_user)


def test_another_graph_is_other_data() -> None:
    c = case(side=ALL)
    first = c.problem.executor(2, 3).fingerprint()
    assert c.problem.executor().fingerprint() == first
    c.problem.graphs[ITEMS] = c.problem.graphs[ITEMS].slice(2)
    assert c.problem.executor().fingerprint() != first
