"""The part of scoring that runs in tasks, as plain functions over Arrow batches, against a plain twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import DataError
from recsys_spark.score import finder
from recsys_spark.score.finder import Ranking, for_ids, for_profiles, for_rows
from tests.model_factory import random_model

Found = dict[object, list[tuple[object, float]]]


def pairs(
    rows: list[tuple[object, object]], kinds: tuple[pa.DataType, pa.DataType] = (pa.int64(),) * 2
) -> pa.RecordBatch:
    """(id, seen id); None for the latter asks for the former."""
    columns = list(zip(*rows, strict=True)) or [[], []]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, ["id", "other"])


def collect(task: Callable, *batches: pa.RecordBatch) -> Found:
    rows = [row for batch in task(iter(batches)) for row in batch.to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: [(r["other"], r["rating"]) for r in row["recommendations"]] for row in rows}


def ids_task(model: FittedModel, side: int, ranking: Ranking, fallback: bool = True) -> Callable:
    return lambda batches: for_ids(SimpleNamespace(value=model), side, ranking, fallback, batches)


def twin(
    model: FittedModel, side: int, one: object, n: int, seen: list[object] = (), beta: float = 1, cosine: bool = False,
    least: float = 0,
) -> list[tuple[object, float]]:  # fmt: skip
    """Score all, sort by (−order, id), cut."""
    served, others = (model.user, model.item) if side == USERS else (model.item, model.user)
    row = served.index(pa.array([one]))[0]
    p = served.factors[row].astype(float) if row >= 0 else np.zeros(model.rank)
    b = float(served.biases[row]) if row >= 0 else 0.0
    out = []
    for at, other in enumerate(others.ids.to_pylist()):
        if other in seen or others.counts[at] < least:
            continue
        q, c = others.factors[at].astype(float), float(others.biases[at])
        ask = (pa.array([one]), pa.array([other]))
        rating = model.predict(*(ask if side == USERS else ask[::-1]), clip=False)[0]
        unit = q / np.linalg.norm(q)
        order = p @ unit if cosine else float(np.float32(model.mu + b + (beta if side == USERS else 1) * c + p @ q))
        out.append((-order, other, float(rating)))
    return [(other, rating) for _, other, rating in sorted(out)[:n]]


def test_rows_are_the_best_unseen_items_of_each_user() -> None:
    model = random_model()
    asked = pairs([(103, 7), (103, None), (103, 9), (103, 10_000), (100, None), (106, 7)])
    again = pairs([(103, 11), (103, None), (103, 7)])
    found = collect(ids_task(model, USERS, Ranking(3)), asked, pairs([]), again)
    assert found == {103: twin(model, USERS, 103, 3, [7, 9, 11]), 100: twin(model, USERS, 100, 3)}


def test_unknown_ids_get_the_items_of_highest_bias_where_there_is_a_fallback() -> None:
    model = random_model()
    items = model.item.ids.to_pylist()
    asked = pairs([(1, None), *((2, item) for item in items[1:]), (2, None), (3, 7)])
    found = collect(ids_task(model, USERS, Ranking(3)), asked)
    assert found == {1: twin(model, USERS, 1, 3), 2: [(items[0], pytest.approx(model.mu + model.item.biases[0]))]}
    assert [item for item, _ in found[1]] == [items[b] for b in np.argsort(-model.item.biases)[:3]]
    assert collect(ids_task(model, USERS, Ranking(3), fallback=False), asked) == {}
    nobody = replace(model, user=random_model(users=0).user)
    assert collect(ids_task(nobody, USERS, Ranking(3)), asked) == found


def test_users_for_items_are_the_mirror_image() -> None:
    model = random_model()
    found = collect(ids_task(model, ITEMS, Ranking(4), False), pairs([(9, 100), (9, None), (7, None), (8, None)]))
    assert found == {9: twin(model, ITEMS, 9, 4, [100]), 7: twin(model, ITEMS, 7, 4)}


@pytest.mark.parametrize("side", [USERS, ITEMS])
def test_all_rows_without_ids_are_the_same_as_by_id(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    ids = (model.user, model.item)[side].ids.to_pylist()
    by_id = collect(ids_task(model, side, Ranking(5)), pairs([(one, None) for one in ids]))
    monkeypatch.setattr(finder, "ROWS_AT_ONCE", 3)
    numbers = [pa.RecordBatch.from_pydict({"id": part}) for part in (np.arange(5), np.arange(5, len(ids)))]
    shared = SimpleNamespace(value=model)
    assert collect(lambda batches: for_rows(shared, side, Ranking(5), batches), *numbers) == by_id
    assert collect(ids_task(model, side, Ranking(5)), pairs([(one, None) for one in ids[::-1]])) == by_id


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    side=st.sampled_from([USERS, ITEMS]),
    n=st.integers(1, 8),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    cosine=st.booleans(),
    least=st.sampled_from([0, 1, 25]),
)
def test_every_ranking_against_the_twin(seed: int, side: int, n: int, beta: float, cosine: bool, least: float) -> None:
    model = random_model(users=9, items=13, seed=seed)
    beta = 1.0 if cosine else beta
    ranking = Ranking(n, beta, "cosine" if cosine else "score", least)
    ids, others = [(model.user, model.item)[s].ids.to_pylist() for s in (side, 1 - side)]
    found = collect(ids_task(model, side, ranking), pairs([*((one, None) for one in ids), (ids[2], others[4])]))
    for place, one in enumerate(ids):
        seen = [others[4]] if place == 2 else []
        assert found[one] == twin(model, side, one, n, seen, beta, cosine, least)


def test_candidates_and_candidates_without_direction() -> None:
    model = random_model()
    model.item.factors[4] = 0  # of no direction: cosine 0, not NaN
    ranking = Ranking(9, metric="cosine", candidates=np.array([1, 4, 8]))
    found = collect(ids_task(model, USERS, ranking), pairs([(100, None)]))[100]
    assert sorted(item for item, _ in found) == [9, 15, 23]
    cosines = {item: np.dot(model.user.factors[0], model.item.factors[(item - 7) // 2]) for item, _ in found}
    assert [cosines[item] > 0 for item, _ in found] == sorted((c > 0 for c in cosines.values()), reverse=True)


def test_string_ids() -> None:
    model = random_model(string_ids=True)
    kinds = (pa.string(), pa.string())
    asked = pairs([("u0100", "i0007"), ("u0100", "nonsense"), ("u0100", None), ("new", None)], kinds)
    found = collect(ids_task(model, USERS, Ranking(29)), asked)
    assert found["u0100"] == twin(model, USERS, "u0100", 29, ["i0007"])
    assert len(found["new"]) == 29
    large = replace(model, item=replace(model.item, ids=model.item.ids.cast(pa.large_string())))
    assert collect(ids_task(large, USERS, Ranking(29)), asked) == found


def test_profiles_are_what_features_predict() -> None:
    model = random_model()
    model = replace(model, user=replace(random_model(users=30).item, ids=pa.array(range(30))))  # users with features
    batch = pa.RecordBatch.from_pydict(
        {"k": ["both", "none"], "indices": pa.array([[0, 1], []], pa.list_(pa.int32())), "values": [[1.0, -2.0], []]}
    )
    shared = SimpleNamespace(value=model)
    found = collect(lambda batches: for_profiles(shared, USERS, Ranking(2), batches), batch)
    p = np.array([1, -2]) @ model.user.projection
    b = np.array([1, -2]) @ model.user.projection_bias
    scores = model.mu + b + model.item.biases + model.item.factors @ p
    best = np.argsort(-scores)[:2]
    assert found["both"] == [(7 + 2 * i, pytest.approx(scores[i], abs=1e-5)) for i in best]
    assert found["none"] == twin(model, USERS, -1, 2)
    wrong = pa.RecordBatch.from_pydict({"k": ["bad"], "indices": [[2]], "values": [[1.0]]})
    with pytest.raises(DataError, match=r"feature row 'bad' has indices \[2\] .* user features are numbered 0 to 1"):
        list(for_profiles(shared, USERS, Ranking(2), iter([wrong])))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "must be at least 1, found 0"),
        ({"n": 1, "item_bias_weight": 1.5}, "itemBiasWeight must be between 0 and 1, found 1.5"),
        ({"n": 1, "metric": "dot"}, "metric must be score or cosine, found 'dot'"),
        ({"n": 1, "metric": "cosine", "item_bias_weight": 0.5}, "itemBiasWeight says nothing there"),
        ({"n": 1, "min_ratings": -1}, "minRatings must be at least 0, found -1"),
    ],
)
def test_senseless_rankings(arguments: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Ranking(**arguments)
