"""Look-ups and predictions of a fitted model, against plain Python twins."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.errors import DataError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.topk import SeenItems
from tests.model_factory import random_model


def twin(model: FittedModel, user: object, item: object) -> float:
    """r̂ of one pair in float64, unclipped, straight from the equation."""
    users, items = model.user.ids.to_pylist(), model.item.ids.to_pylist()
    score = model.mu
    if user in users:
        score += float(model.user.biases[users.index(user)])
    if item in items:
        score += float(model.item.biases[items.index(item)])
    if user in users and item in items:
        p, q = model.user.factors[users.index(user)], model.item.factors[items.index(item)]
        score += sum(float(x) * float(y) for x, y in zip(p, q, strict=True))
    return score


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint16()])
def test_index_takes_any_integer_type(kind: pa.DataType) -> None:
    side = random_model().user
    assert side.index(pa.array([103, 100, 101, 99, 0, None, 115], kind)).tolist() == [1, 0, -1, -1, -1, -1, 5]


def test_index_of_chunks_empty_and_null_arrays() -> None:
    side = random_model(users=3).user
    assert side.index(pa.chunked_array([[106, 100], [], [None, 9999]], pa.int64())).tolist() == [2, 0, -1, -1]
    assert side.index(pa.array([], pa.int64())).tolist() == []
    assert side.index(pa.nulls(2)).tolist() == [-1, -1]
    assert side.index(pa.array([100, 106], pa.int64())).dtype == np.int64


def test_index_of_a_null_is_unknown_even_where_the_id_zero_exists() -> None:
    side = dataclasses.replace(random_model(users=2).user, ids=pa.array([0, 1]))
    assert side.index(pa.array([0, None, 1])).tolist() == [0, -1, 1]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_index_of_strings(kind: pa.DataType) -> None:
    side = random_model(string_ids=True).item
    assert side.index(pa.chunked_array([["i0009", None], ["", "i0007", "9"]], kind)).tolist() == [1, -1, -1, 0, -1]


def test_index_in_a_side_without_rows() -> None:
    side = random_model(users=0).user
    assert side.index(pa.array([1, 2])).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("string_ids", "asked"), [(False, pa.array(["100"])), (True, pa.array([100])), (False, pa.array([1.0]))]
)
def test_index_refuses_ids_of_another_kind(string_ids: bool, asked: pa.Array) -> None:
    with pytest.raises(DataError, match="looked up in a model whose ids are"):
        random_model(string_ids=string_ids).user.index(asked)


@pytest.mark.parametrize("rank", [0, 1, 5, 33])
def test_predict_is_the_equation_with_fallbacks(rank: int) -> None:
    model = dataclasses.replace(random_model(rank=rank, seed=rank), clip=(3.3, 4.0))
    pairs = [(u, i) for u in (100, 103, 133, 1, None) for i in (7, 9, 65, 8, None)]
    users, items = pa.array([u for u, _ in pairs], pa.int64()), pa.array([i for _, i in pairs], pa.int64())
    expected = np.array([twin(model, u, i) for u, i in pairs])
    raw = model.predict(users, items, clip=False)
    assert raw.dtype == np.float32
    np.testing.assert_allclose(raw, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model.predict(users, items), np.clip(raw, np.float32(3.3), np.float32(4.0)))
    assert (raw != model.predict(users, items)).any(), "nothing was outside the scale: clipping went untested"
    strict = model.predict(users, items, unknown="nan")
    known = np.array([u in (100, 103, 133) and i in (7, 9, 65) for u, i in pairs])
    np.testing.assert_array_equal(np.isnan(strict), ~known)


def test_predict_gives_the_same_bits_in_any_batch() -> None:
    model = random_model(users=40, items=70, rank=31)
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 40, 500), rng.integers(0, 70, 500)
    whole = model.predict_rows(users, items)
    single = np.array([model.predict_rows(users[n : n + 1], items[n : n + 1])[0] for n in range(500)])
    np.testing.assert_array_equal(whole, single)
    order = rng.permutation(500)
    np.testing.assert_array_equal(whole[order], model.predict_rows(users[order], items[order]))


def test_predict_refuses_columns_of_different_length() -> None:
    with pytest.raises(DataError, match="2 users and 1 items"):
        random_model().predict(pa.array([100, 103]), pa.array([7]))


def test_top_n_scores_are_the_predictions_and_unknown_users_get_the_best_biases() -> None:
    model = random_model()
    users = pa.array([103, 1, 100])
    seen = SeenItems.of([[3, 4], [], list(range(28))])
    rows, scores = model.top_n(users, 4, seen=seen)
    assert not {3, 4} & set(rows[0].tolist())
    np.testing.assert_array_equal(rows[1], np.argsort(-model.item.biases)[:4])
    assert sorted(rows[2][:2].tolist()) == [28, 29]
    assert rows[2][2:].tolist() == [-1, -1]
    assert np.isnan(scores[2][2:]).all()
    for user, row, score in zip(users, rows, scores, strict=True):
        taken = row >= 0
        ids = model.item.ids.take(pa.array(row[taken]))
        np.testing.assert_array_equal(score[taken], model.predict(pa.array([user] * len(ids)), ids, clip=False))
    assert "_catalogue" in vars(model)
    travelled = copy.copy(model)  # as pickle and a broadcast do
    assert "_catalogue" not in vars(travelled)
    np.testing.assert_array_equal(travelled.top_n(users, 4, seen=seen)[0], rows)


def test_top_n_of_a_model_without_users() -> None:
    rows, _ = random_model(users=0).top_n(pa.array([5]), 2)
    assert rows.shape == (1, 2)
    assert (rows >= 0).all()


BAD_SIDES = {
    "factors must be": {"factors": np.zeros((3, 5))},
    "biases must be": {"biases": np.zeros(2, np.float32)},
    "counts must be": {"counts": np.zeros(3, np.float32)},
    "projection must be": {"projection": np.zeros((1, 5))},
    "projection_bias must be": {"projection_bias": np.zeros(9)},
    "the index of a feature column": {"columns": (FeatureColumn(1, "g", "a"),)},
    "ids must be int64 or strings": {"ids": pa.array([1.0, 2.0, 3.0])},
    r"ids hold 1 null": {"ids": pa.array([1, None, 3])},
    "ids must be sorted and unique": {"ids": pa.array([1, 3, 3])},
}


@pytest.mark.parametrize("words", BAD_SIDES)
def test_a_side_refuses_what_does_not_fit(words: str) -> None:
    side: SideModel = random_model(users=3).user
    if words.startswith("the index"):
        side = random_model(items=3).item
        BAD_SIDES[words] |= {
            "projection": side.projection[:1].copy(),
            "projection_bias": side.projection_bias[:1].copy(),
        }
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(side, **BAD_SIDES[words])


def test_a_side_refuses_factors_in_column_order() -> None:
    side = random_model().user
    with pytest.raises(ValueError, match="factors must be C-contiguous"):
        dataclasses.replace(side, factors=np.asfortranarray(side.factors))


def test_a_model_refuses_sides_of_different_rank_and_an_empty_scale() -> None:
    model = random_model()
    with pytest.raises(ValueError, match="user factors have rank 5, item factors 4"):
        dataclasses.replace(model, item=random_model(rank=4).item)
    with pytest.raises(ValueError, match=r"clip must be \(low, high\)"):
        dataclasses.replace(model, clip=(5.0, 4.0))
