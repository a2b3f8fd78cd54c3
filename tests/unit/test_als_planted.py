"""Data planted so that one term of the model carries the information: with it the fit finds it, without it cannot."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from problems import Problem, columns_of, feature_table, graph_table
from recsys_spark.als.model import FittedModel
from recsys_spark.als.settings import AlsSettings, ImplicitSettings, SideSettings, UnobservedSettings
from recsys_spark.als.train import train
from recsys_spark.blocks.layout import ITEMS

FREE = SideSettings(reg=0.01, bias="none")


def planted(ratings: np.ndarray, seen: np.ndarray, graph: np.ndarray | None = None) -> Problem:
    """A problem of the cells of a dense matrix that are ``seen``; every row and column is known, none has features."""
    u, i = np.nonzero(seen)
    table = pa.table(
        {"user": u, "item": i, "rating": ratings[u, i].astype(np.float32), "held_out": np.zeros(len(u), bool)}
    )
    tables = [feature_table(np.arange(n), np.zeros((n, 0))) for n in ratings.shape]
    graphs = {} if graph is None else {ITEMS: graph_table(graph)}
    return Problem(table, *tables, (columns_of("group", 0), columns_of("genre", 0)), graphs)


def scores(model: FittedModel) -> np.ndarray:
    """Every pair's score, unclipped."""
    return model.mu + model.user.biases[:, None] + model.item.biases + model.user.factors @ model.item.factors.T


def rmse(model: FittedModel, truth: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(np.mean((scores(model) - truth)[where] ** 2)))


def test_a_graph_alone_tells_of_cold_and_sparse_items() -> None:
    """Twelve clusters of ten alike items: of each cluster, two items have no rating and three have two."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(12), 10)
    q = rng.normal(0, 1, (12, 3))[cluster] + rng.normal(0, 0.1, (120, 3))
    truth = 3 + rng.normal(0, 0.8, (80, 3)) @ q.T
    kind = np.tile([0, 0, 1, 1, 1, 2, 2, 2, 2, 2], 12)  # cold, sparse, rated
    seen = rng.random(truth.shape) < np.array([0.0, 2 / 80, 0.5])[kind]
    alike = (cluster[:, None] == cluster) & ~np.eye(120, dtype=bool)
    p = planted(truth + rng.normal(0, 0.2, truth.shape), seen, alike.astype(float))

    def errors(alpha: float) -> list[float]:
        item = SideSettings(reg=0.3, reg_bias=3.0, graph=alpha)
        settings = AlsSettings(rank=3, max_iter=40, user=SideSettings(reg=0.3, reg_bias=3.0), item=item)
        model = train(p.executor(2, 2), settings, p.columns)
        return [rmse(model, truth, ~seen & (kind == k)) for k in range(3)]

    (cold, sparse, _), (cold_with, sparse_with, _) = errors(0.0), errors(0.5)
    assert cold_with < 0.45 * cold
    assert sparse_with < 0.45 * sparse


def test_planted_nonnegative_factors_are_recovered() -> None:
    """Parts that only some rows have (separable, so that they are unique but for order and scale)."""
    rng = np.random.default_rng(1)
    p, q = (rng.gamma(1.0, 1.0, (n, 4)) * (rng.random((n, 4)) < 0.5) for n in (120, 90))
    p[:20], q[:20] = (np.eye(4)[np.arange(20) % 4] * 2 for _ in range(2))
    problem = planted(p @ q.T, rng.random((120, 90)) < 0.6)
    settings = AlsSettings(rank=4, max_iter=200, user=FREE, item=FREE, mean="none", nonnegative=True, seed=2)
    model = train(problem.executor(), settings, problem.columns)
    assert rmse(model, p @ q.T, np.ones((120, 90), bool)) < 0.05
    for planted_factors, found in ((p, model.user.factors), (q, model.item.factors)):
        cosines = (planted_factors / np.linalg.norm(planted_factors, axis=0)).T @ (
            found / np.linalg.norm(found, axis=0)
        )
        assert sorted(cosines.argmax(1)) == [0, 1, 2, 3]
        assert cosines.max(1).min() > 0.97


def test_without_the_bound_factors_go_negative() -> None:
    rng = np.random.default_rng(1)
    p, q = (rng.gamma(1.0, 1.0, (n, 4)) * (rng.random((n, 4)) < 0.5) for n in (40, 30))
    problem = planted(p @ q.T, rng.random((40, 30)) < 0.6)
    settings = AlsSettings(rank=4, max_iter=5, user=FREE, item=FREE, mean="none")
    assert train(problem.executor(), settings, problem.columns).user.factors.min() < -0.1


def test_implicit_feedback_ranks_planted_preferences() -> None:
    """Users of three tastes consume items of their taste now and then; the rest of their taste must rank first."""
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, 3, 150), rng.integers(0, 3, 90)
    likes = user[:, None] == item
    counts = rng.poisson(np.where(likes, 0.3, 0.02))
    problem = planted(counts, counts > 0)
    side = SideSettings(reg=0.1, reg_mode="weighted")
    settings = AlsSettings(rank=3, max_iter=15, user=side, item=side, implicit=ImplicitSettings(prefs=True, alpha=5.0))
    model = train(problem.executor(2, 3), settings, problem.columns)
    score, new = scores(model), counts == 0
    wins = [
        np.mean(score[u][new[u] & likes[u]][:, None] > score[u][new[u] & ~likes[u]]) for u in range(150) if new[u].any()
    ]
    assert model.mu == 0
    assert not model.user.biases.any()
    assert np.mean(wins) > 0.97


def test_cells_without_a_rating_pull_scores_to_their_target() -> None:
    rng = np.random.default_rng(4)
    seen = rng.random((60, 50)) < 0.15
    problem = planted(rng.normal(4, 0.5, (60, 50)), seen)
    side = SideSettings(reg=1.0, reg_bias=1.0)

    def mean_unseen(weight: float) -> float:
        unobserved = UnobservedSettings(weight=weight, target=2.0)
        settings = AlsSettings(rank=2, max_iter=20, user=side, item=side, unobserved=unobserved)
        return float(scores(train(problem.executor(), settings, problem.columns))[~seen].mean())

    assert abs(mean_unseen(0.0) - 4) < 0.1
    assert mean_unseen(0.1) < 3.6
    assert abs(mean_unseen(5.0) - 2) < 0.1


@pytest.mark.parametrize("side", ["user", "item"])
def test_one_sides_biases_alone_are_shrunk_means(side: str) -> None:
    rng = np.random.default_rng(5)
    truth = 3 + rng.normal(0, 1, (30, 1)) + np.zeros((30, 20))
    truth = truth if side == "user" else truth[:20].T[:, :20]
    seen = rng.random(truth.shape) < 0.5
    problem = planted(truth, seen)
    on, off = SideSettings(reg_bias=1.0), SideSettings(bias="none")
    user, item = (on, off) if side == "user" else (off, on)
    model = train(problem.executor(2, 2), AlsSettings(rank=0, max_iter=2, user=user, item=item), problem.columns)
    axis = 1 if side == "user" else 0
    left = np.where(seen, truth - model.mu, 0).sum(axis) / (seen.sum(axis) + 1)
    solved, other = (model.user, model.item) if side == "user" else (model.item, model.user)
    np.testing.assert_allclose(solved.biases, left, atol=1e-5)
    assert not other.biases.any()


def test_factors_without_biases_find_a_low_rank_matrix() -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40))
    seen = rng.random(truth.shape) < 0.5
    problem = planted(truth, seen)
    settings = AlsSettings(rank=3, max_iter=60, user=FREE, item=FREE, mean="none")
    model = train(problem.executor(3, 2), settings, problem.columns)
    assert rmse(model, truth, ~seen) < 0.03
    assert not model.user.biases.any()


def test_a_tiny_set_is_overfitted() -> None:
    rng = np.random.default_rng(7)
    seen = rng.random((6, 5)) < 0.8
    problem = planted(rng.normal(3, 1, (6, 5)), seen)
    side = SideSettings(reg=1e-5, reg_bias=1e-5)  # a tenth of it is where float32 finds rows singular
    model = train(problem.executor(), AlsSettings(rank=5, max_iter=80, user=side, item=side), problem.columns)
    assert model.history["train_rmse"].to_pylist()[-1] < 1e-3
