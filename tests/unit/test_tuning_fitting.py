"""Fits of a study in a task: the same bits in chunks as whole, and nothing of the judging ratings in what is judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from problems import Problem, problem
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.train import train
from recsys_spark.blocks.layout import USERS, Block
from recsys_spark.errors import DataError
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.fitting import Material, advance, assembled, judge
from recsys_spark.tuning.folds import Features, Fold, inner_names, make_fold, make_folds, outer_name, shares

SETTINGS = AlsSettings(rank=3, max_iter=5, clip=(0.0, 8.0), item=SideSettings(reg=2.0), user=SideSettings(reg=2.0))


@pytest.fixture(scope="module")
def data() -> tuple[pa.Table, Features]:
    p: Problem = problem(users=50, items=25, seed=4)
    columns = ([], [replace(c, group="genre" if c.index < 2 else "year") for c in p.columns[1]])
    nobody = p.user_features.slice(0, 0)
    ratings = p.ratings.select(["user", "item", "rating"])
    rng = np.random.default_rng(1)
    for name in ("fold", "inner"):
        ratings = ratings.append_column(name, pa.array(rng.integers(0, 2, len(ratings))))
    return ratings, Features((nobody, p.item_features), columns)


@pytest.fixture(scope="module")
def folds(data: tuple[pa.Table, Features]) -> dict[str, Fold]:
    return make_folds(*data, outer=2, inner=2)


def pairs(table: pa.Table) -> set[tuple[int, int]]:
    return set(zip(table["user"].to_pylist(), table["item"].to_pylist(), strict=True))


def training(fold: Fold) -> set[tuple[int, int]]:
    rows = Block.from_buffer(fold.records[USERS]).ratings
    users = np.repeat(fold.plan.user.ids.to_numpy(), np.diff(rows.indptr))
    return set(zip(users.tolist(), fold.plan.item.ids.to_numpy()[rows.cols].tolist(), strict=True))


def test_inner_folds_hold_nothing_of_their_outer_fold(data: tuple[pa.Table, Features], folds: dict[str, Fold]) -> None:
    ratings = data[0]
    for o in range(2):
        test = pairs(ratings.filter(pa.compute.equal(ratings["fold"], o)))
        outer = folds[outer_name(o)]
        assert pairs(outer.judged) == test
        assert training(outer) == pairs(ratings) - test
        judged = [pairs(folds[name].judged) for name in inner_names(o, 2)]
        assert judged[0] | judged[1] == training(outer)
        assert not judged[0] & judged[1]
        for name, mine in zip(inner_names(o, 2), judged, strict=True):
            assert training(folds[name]) == training(outer) - mine
    assert shares(folds, [outer_name(0), outer_name(1)]) == pytest.approx(1.0, rel=0.2)


def test_an_empty_fold_is_an_error(data: tuple[pa.Table, Features]) -> None:
    ratings, features = data
    nobody = pa.chunked_array([pa.array(np.zeros(len(ratings), bool))])
    with pytest.raises(
        DataError, match=r"fold outer-0 has \d+ training and 0 judging ratings: choose fewer study.folds"
    ):
        make_fold(ratings, nobody, features, "outer-0")


@pytest.mark.parametrize("chunk", [1, 2, 4, 9])
def test_chunks_of_a_fit_are_the_whole_fit(data: tuple[pa.Table, Features], folds: dict[str, Fold], chunk: int) -> None:
    material, candidate = Material(folds["outer-1"], data[1], None), Candidate(SETTINGS)
    patient = SETTINGS.model_copy(update={"stop": SETTINGS.stop.model_copy(update={"patience": 99})})
    executor, columns = assembled(material, candidate)
    whole = train(executor, patient, columns).history["validation_rmse"].to_pylist()
    found, at = [], None
    while True:
        part = advance(material, candidate, at, chunk)
        found += part.curve
        at = part.at
        if at is None:
            break
        assert len(part.curve) == chunk
    assert found == whole


def test_judging_sees_no_judging_rating(data: tuple[pa.Table, Features], folds: dict[str, Fold]) -> None:
    ratings, features = data
    fold, candidate = folds["outer-0"], Candidate(SETTINGS)
    judged = judge(Material(fold, features, None), candidate, 5, 4.0)
    tested = pa.compute.equal(ratings["fold"], 0)
    spoilt = ratings.set_column(
        2, "rating", pa.compute.if_else(tested, pa.scalar(0.5, pa.float32()), ratings["rating"])
    )
    again = judge(Material(make_folds(spoilt, features, 2, 2)["outer-0"], features, None), candidate, 5, 4.0)
    np.testing.assert_array_equal(judged.predictions, again.predictions)
    assert len(judged.history) == 5
    assert np.isnan(judged.history["validation_rmse"].to_numpy()).all()
    assert judged.predictions.shape == (len(fold.judged),)
    counts = dict(zip(*np.unique([i for _, i in training(fold)], return_counts=True), strict=True))
    assert judged.popularity.tolist() == [counts.get(i, 0) for i in fold.judged["item"].to_pylist()]
    assert ((judged.ndcg >= 0) & (judged.ndcg <= 1)).all()


def test_features_that_a_candidate_does_not_have_play_no_part(
    data: tuple[pa.Table, Features], folds: dict[str, Fold]
) -> None:
    features = data[1]
    material = Material(folds["outer-0"], features, None)
    by_groups = {g: judge(material, Candidate(SETTINGS, g), 5, 4.0) for g in (None, ("genre",), ())}
    executor, columns = assembled(material, Candidate(SETTINGS, ("year",)))
    assert [(c.index, c.group) for c in columns[1]] == [(0, "year")]
    assert executor.plan.item.n_features == 1
    bits = {judged.predictions.tobytes() for judged in by_groups.values()}
    assert len(bits) == 3
    bare = Features((features.rows[0], features.rows[1].slice(0, 0)), ([], []))
    none = judge(Material(make_folds(data[0], bare, 2, 2)["outer-0"], bare, None), Candidate(SETTINGS), 5, 4.0)
    np.testing.assert_array_equal(by_groups[()].predictions, none.predictions)


def test_a_graph_is_put_in_by_the_task(data: tuple[pa.Table, Features], folds: dict[str, Fold]) -> None:
    ids = data[1].rows[1]["id"].to_pylist()
    edges = pa.table({"i": [ids[0], ids[1]], "j": [ids[1], ids[0]], "s": pa.array([1.0, 1.0], pa.float32())})
    pulled = SETTINGS.model_copy(update={"item": SETTINGS.item.model_copy(update={"graph": 50.0})})
    executor, columns = assembled(Material(folds["outer-0"], data[1], edges), Candidate(pulled))
    model = train(executor, pulled, columns)
    apart = train(*_plain(data[1], folds["outer-0"]))

    def distance(m) -> float:
        v = m.item.factors - np.array([_prior(m, i) for i in range(len(m.item))])
        a, b = (m.item.index(pa.array([i]))[0] for i in ids[:2])
        return float(np.linalg.norm(v[a] - v[b]))

    assert distance(model) < 0.3 * distance(apart)


def _plain(features: Features, fold: Fold):
    executor, columns = assembled(Material(fold, features, None), Candidate(SETTINGS))
    return executor, SETTINGS, columns


def _prior(model, row: int) -> np.ndarray:
    x = _dense(model)
    return x[row] @ model.item.projection


def _dense(model) -> np.ndarray:
    p = problem(users=50, items=25, seed=4)
    x = np.zeros((len(model.item), 3))
    rows = model.item.index(p.item_features["id"])
    for row, indices in zip(rows, p.item_features["indices"].to_pylist(), strict=True):
        x[row, indices] = 1.0
    return x
