"""The training loop in one process: J falls, grids do not matter, each special case is the same code."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from problems import problem
from recsys_spark.als.history import Iteration
from recsys_spark.als.model import MEASURED, FittedModel
from recsys_spark.als.orders import Facts, Orders
from recsys_spark.als.settings import AlsSettings, SideSettings, StopSettings
from recsys_spark.als.train import HalfStep, train
from recsys_spark.blocks.layout import USERS
from recsys_spark.errors import ConfigError, DataError, FitError
from recsys_spark.features.columns import FeatureColumn
from reference import dense

SIDE = SideSettings(reg=2.0, reg_bias=1.0, reg_features=1.5, reg_feature_bias=1.5)
SETTINGS = AlsSettings(rank=3, max_iter=6, seed=1, user=SIDE, item=SIDE)


def bits(model: FittedModel) -> list[bytes]:
    history = model.history.drop_columns(list(MEASURED))
    arrays = [
        a for s in (model.user, model.item) for a in (s.factors, s.biases, s.counts, s.projection, s.projection_bias)
    ]
    return (
        [a.tobytes() for a in arrays] + [np.asarray(c).tobytes() for c in history.columns] + [repr(model.mu).encode()]
    )


@pytest.mark.parametrize("mode", ["constant", "weighted", "inverse_sqrt"])
@pytest.mark.parametrize("bias", ["learned", "static", "none"])
def test_the_objective_falls_at_every_half_step(mode: str, bias: str) -> None:
    side = SIDE.model_copy(update={"reg_mode": mode, "bias": bias, "reg": 0.3 if mode == "weighted" else 2.0})
    p = problem()
    seen: list[float] = []
    settings = SETTINGS.model_copy(update={"user": side, "item": side})
    train(
        p.executor(),
        settings,
        p.columns,
        watch=lambda e: seen.append(e.terms.objective) if isinstance(e, HalfStep) else None,
    )
    assert len(seen) == 12
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(seen))
    assert seen[-1] < 0.9 * seen[0]


def test_items_beyond_their_solution_take_fewer_iterations_to_the_same_objective() -> None:
    """Planted: weakly regularised factors, along whose valley plain alternation crawls. J falls all the same."""
    p = problem(noise=0.1, held_out=0.0, user_d=0, item_d=0)
    side = SIDE.model_copy(update={"reg": 0.05, "reg_bias": 0.05})
    settings = SETTINGS.model_copy(update={"user": side, "item": side, "max_iter": 60, "relaxation": 1.99})
    plain = train(p.executor(), settings.model_copy(update={"relaxation": 1.0}), p.columns).history["objective"]
    seen: list[HalfStep] = []
    train(p.executor(), settings, p.columns, watch=lambda e: seen.append(e) if isinstance(e, HalfStep) else None)
    objectives = [step.terms.objective for step in seen]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(objectives))
    assert objectives[2 * 15 - 1] < plain[20 - 1].as_py()
    assert objectives[2 * 40 - 1] < plain[60 - 1].as_py()


def test_nobody_watching_changes_nothing() -> None:
    p = problem()
    watched = train(p.executor(), SETTINGS, p.columns, watch=lambda event: None)
    assert bits(watched) == bits(train(p.executor(), SETTINGS, p.columns))


@pytest.mark.parametrize("grid", [(2, 3), (7, 7), (64, 1)])
def test_the_same_bits_for_every_grid(grid: tuple[int, int]) -> None:
    p = problem()
    assert bits(train(p.executor(*grid), SETTINGS, p.columns)) == bits(train(p.executor(), SETTINGS, p.columns))


def test_the_order_of_the_input_does_not_matter() -> None:
    p = problem()
    q = problem()
    q.ratings = q.ratings.take(np.random.default_rng(3).permutation(len(q.ratings)))
    assert bits(train(p.executor(), SETTINGS, p.columns)) == bits(train(q.executor(2, 2), SETTINGS, p.columns))


def test_the_recorded_terms_are_the_reference_objective() -> None:
    p = problem()
    model = train(p.executor(2, 2), SETTINGS.model_copy(update={"max_iter": 3}), p.columns)
    ratings, weights = np.zeros((len(model.user), len(model.item))), np.zeros((len(model.user), len(model.item)))
    held = p.ratings["held_out"].to_numpy()
    u, i = model.user.index(p.ratings["user"]), model.item.index(p.ratings["item"])
    ratings[u, i] = p.ratings["rating"].to_numpy()
    weights[u[~held], i[~held]] = 1
    state = dense.State(model.mu, {}, {})
    sides = {}
    for name, side, table in (("user", model.user, p.user_features), ("item", model.item, p.item_features)):
        features = np.zeros((len(side), len(side.columns)))
        for key, indices, values in zip(*(table[c].to_pylist() for c in ("id", "indices", "values")), strict=True):
            features[side.index(pa.array([key]))[0], indices] = values
        d, k = side.projection.shape
        sides[name] = dense.Side(features, np.full(len(side), 2.0), 1.0, np.full((d, k), 1.5), np.full(d, 1.5))
        state.factors[name], state.biases[name] = side.factors.astype(float), side.biases.astype(float)
        state.projection[name] = np.hstack([side.projection, side.projection_bias[:, None]])
    expected = dense.terms(ratings, weights, sides, state)
    kept = model.history.to_pylist()[model.best_iteration - 1]
    for name, value in expected.items():
        assert kept[name] == pytest.approx(value, rel=2e-4, abs=1e-4), name
    assert kept["objective"] == pytest.approx(sum(expected.values()), rel=1e-5)
    predicted = np.clip(model.predict(p.ratings["user"], p.ratings["item"]), *model.clip)
    assert kept["validation_rmse"] == pytest.approx(np.sqrt(np.mean((predicted - ratings[u, i])[held] ** 2)), rel=1e-6)
    assert kept["train_rmse"] == pytest.approx(np.sqrt(expected["sse"] / weights.sum()), rel=1e-4)


def test_a_stored_user_is_the_fold_in_of_their_ratings() -> None:
    p = problem(held_out=0.0)
    executor = p.executor()
    model = train(executor, SETTINGS, p.columns)
    orders = Orders(SETTINGS, Facts.merged(*executor.survey()), model.mu, p.columns)
    orders.projections = [np.hstack([s.projection, s.projection_bias[:, None]]) for s in (model.user, model.item)]
    executor.half_sweep(orders.order(USERS))
    assert executor.rows(USERS)[0].tobytes() == model.user.factors.tobytes()
    assert executor.rows(USERS)[1].tobytes() == model.user.biases.tobytes()


def test_biases_only_is_rank_zero() -> None:
    p = problem(user_d=0, item_d=0, held_out=0.0)
    model = train(p.executor(), SETTINGS.model_copy(update={"rank": 0, "max_iter": 30}), p.columns)
    # the ridge solution of μ + b_u + c_i by dense least squares
    train_rows = p.ratings.filter(pa.compute.invert(p.ratings["held_out"]))
    u, i = model.user.index(train_rows["user"]), model.item.index(train_rows["item"])
    n = len(model.user) + len(model.item)
    design = np.zeros((len(u) + n, n))
    design[np.arange(len(u)), u] = 1
    design[np.arange(len(u)), len(model.user) + i] = 1
    design[len(u) + np.arange(n), np.arange(n)] = 1.0
    target = np.r_[train_rows["rating"].to_numpy() - model.mu, np.zeros(n)]
    expected = np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(np.r_[model.user.biases, model.item.biases], expected, atol=2e-4)
    assert model.mu == pytest.approx(train_rows["rating"].to_numpy().astype(float).mean(), abs=1e-9)


def test_without_biases_and_mean_it_is_plain_als() -> None:
    p = problem(user_d=0, item_d=0)
    side = SIDE.model_copy(update={"bias": "none"})
    settings = SETTINGS.model_copy(update={"user": side, "item": side, "mean": "none", "max_iter": 1})
    model = train(p.executor(), settings, p.columns)
    assert model.mu == 0.0
    assert not model.user.biases.any()
    assert not model.item.biases.any()


def test_static_biases_stay_shrunk_means() -> None:
    p = problem(user_d=0, item_d=0)
    side = SIDE.model_copy(update={"bias": "static"})
    settings = SETTINGS.model_copy(update={"user": side, "item": side})
    one, six = (train(p.executor(3, 2), settings.model_copy(update={"max_iter": n}), p.columns) for n in (1, 6))
    assert one.item.biases.tobytes() == six.item.biases.tobytes()
    train_rows = p.ratings.filter(pa.compute.invert(p.ratings["held_out"]))
    i, r = one.item.index(train_rows["item"]), train_rows["rating"].to_numpy().astype(float)
    expected = np.bincount(i, r - one.mu) / (np.bincount(i) + 1.0)
    np.testing.assert_allclose(one.item.biases, expected, atol=1e-5)


def test_features_predict_factors_and_biases_of_unrated_items() -> None:
    """Planted: items that nobody rated are scored by genre alone, better than by the mean."""
    p = problem(users=150, items=120, density=0.3, held_out=0.0, seed=4)
    cold = np.isin(p.ratings["item"].to_numpy(), p.item_features["id"].to_numpy()[:20])
    test, p.ratings = p.ratings.filter(pa.array(cold)), p.ratings.filter(pa.array(~cold))
    truth = test["rating"].to_numpy()
    model = train(p.executor(), SETTINGS.model_copy(update={"max_iter": 10}), p.columns)
    none = train(p.executor(), SETTINGS.model_copy(update={"max_iter": 10}), p.columns).predict(
        test["user"], pa.array([-1] * len(truth))
    )
    by_genre = model.predict(test["user"], test["item"])
    error, baseline = np.sqrt(np.mean((by_genre - truth) ** 2)), np.sqrt(np.mean((none - truth) ** 2))
    assert model.item.counts[:20].sum() == 0
    assert error < 0.8 * baseline


def test_a_tiny_set_can_be_overfitted() -> None:
    p = problem(users=6, items=5, density=0.9, held_out=0.0, user_d=0, item_d=0)
    side = SIDE.model_copy(update={"reg": 1e-5, "reg_bias": 1e-5})
    model = train(p.executor(), AlsSettings(rank=5, max_iter=60, user=side, item=side), p.columns)
    assert model.history["train_rmse"].to_pylist()[-1] < 5e-3


def test_early_stopping_keeps_the_best_iteration() -> None:
    p = problem(noise=1.0, density=0.3, held_out=0.3)
    side = SIDE.model_copy(update={"reg": 0.5, "reg_bias": 0.5})
    settings = AlsSettings(rank=8, max_iter=60, user=side, item=side, stop=StopSettings(patience=4, min_iter=2))
    seen: list[Iteration] = []
    model = train(
        p.executor(), settings, p.columns, watch=lambda e: seen.append(e) if isinstance(e, Iteration) else None
    )
    scores = [e.validation_rmse for e in seen]
    assert len(seen) < 60
    assert "has not improved" in model.stop_reason
    assert model.best_iteration == 1 + int(np.argmin(scores))
    shorter = train(p.executor(), settings.model_copy(update={"max_iter": model.best_iteration}), p.columns)
    assert shorter.user.factors.tobytes() == model.user.factors.tobytes()


def test_a_projection_of_very_many_features() -> None:
    """1600 columns at rank 3 are more than are solved directly; all but the first three are empty here."""
    p = problem()
    wide = [FeatureColumn(i, "tag", f"tag={i}", None, None) for i in range(1600)]
    found, expected = (train(p.executor(2, 2), SETTINGS, (p.columns[0], c)) for c in (wide, p.columns[1]))
    last, best = (model.history["objective"].to_pylist()[-1] for model in (found, expected))
    assert last == pytest.approx(best, rel=2e-3)
    assert not found.item.projection[3:].any()


def test_all_ratings_equal() -> None:
    p = problem()
    p.ratings = p.ratings.set_column(2, "rating", pa.array(np.full(len(p.ratings), 4.0, np.float32)))
    model = train(p.executor(2, 2), SETTINGS, p.columns)
    assert model.clip == (4.0, 4.0)
    assert set(model.predict(p.ratings["user"], p.ratings["item"]).tolist()) == {4.0}


def test_an_unregularised_row_is_named_by_its_id() -> None:
    p = problem(user_d=0, item_d=0, density=0.05)
    side = SIDE.model_copy(update={"reg": 0.0})
    with pytest.raises(FitError, match=r"(user|item) \d+ has no unique solution.*raise the (user|item)'s reg"):
        train(p.executor(), SETTINGS.model_copy(update={"user": side, "item": side}), p.columns)


def test_unknown_feature_groups_and_empty_ratings_are_refused() -> None:
    p = problem()
    side = SIDE.model_copy(update={"reg_groups": {"genres": 2.0}})
    with pytest.raises(ConfigError, match=r"reg_groups names \['genres'\], but the feature groups are \['genre'\]"):
        train(p.executor(), SETTINGS.model_copy(update={"item": side}), p.columns)
    p.ratings = p.ratings.slice(0, 0)
    with pytest.raises(DataError, match="no training rating left"):
        train(p.executor(), SETTINGS, p.columns)
