"""Folding in: a training user's ratings give back their row, bit for bit, in every form of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from foldin_case import FORMS, fitted, of_side
from problems import feature_table
from recsys_spark.als.foldin import fold_in, merged
from recsys_spark.als.settings import SideSettings
from recsys_spark.als.train import train
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import DataError, FitError


@pytest.mark.parametrize("form", FORMS)
def test_users_come_back_bit_for_bit(form: str) -> None:
    p, model = fitted(FORMS[form])
    rng = np.random.default_rng(0)
    ratings = of_side(p, USERS).take(rng.permutation(len(p.ratings)))
    folded = fold_in(model, USERS, ratings, p.user_features)
    assert folded.ids.equals(model.user.ids)
    assert folded.factors.tobytes() == model.user.factors.tobytes()
    assert folded.biases.tobytes() == model.user.biases.tobytes()
    assert folded.counts.tolist() == model.user.counts.tolist()
    some = ratings.filter(pa.compute.is_in(ratings["id"], value_set=folded.ids[4:6]))  # alone, they are the same
    few = fold_in(model, USERS, some, p.user_features.filter(pa.compute.is_in(p.user_features["id"], folded.ids[4:6])))
    assert few.factors.tobytes() == model.user.factors[4:6].tobytes()


def test_features_are_part_of_what_a_user_is() -> None:
    p, model = fitted(FORMS["learned"])
    without = fold_in(model, USERS, of_side(p, USERS))
    assert np.abs(without.factors - model.user.factors).max() > 1e-3
    nothing = of_side(p, ITEMS).slice(0, 0)
    alone = fold_in(model, ITEMS, nothing, p.item_features)  # features alone: the prior
    x = np.zeros((len(alone.ids), 3))
    for row, indices in enumerate(p.item_features["indices"].to_pylist()):
        x[row, indices] = 1
    np.testing.assert_allclose(alone.factors, x @ model.item.projection, atol=1e-6)
    np.testing.assert_allclose(alone.biases, x @ model.item.projection_bias, atol=1e-6)
    assert not alone.counts.any()


def test_items_are_what_the_next_half_step_would_make_of_them() -> None:
    settings = FORMS["weighted, no bias"]
    p, model = fitted(settings)
    described = {name: getattr(p, name)["id"].to_numpy() for name in ("user_features", "item_features")}
    nothing = {name: feature_table(ids, np.zeros((len(ids), 0))) for name, ids in described.items()}
    bare = replace(p, columns=([], []), **nothing)
    plan = bare.executor(2, 2)
    model = train(plan, settings)
    plain = fold_in(model, ITEMS, of_side(p, ITEMS))
    again = train(p.executor(), settings.model_copy(update={"max_iter": 1}), initial=model)
    assert plain.factors.tobytes() == again.item.factors.tobytes()
    assert plain.factors.tobytes() != model.item.factors.tobytes()


def test_weights_and_strangers() -> None:
    p, model = fitted(FORMS["learned"])
    one = of_side(p, USERS).slice(0, 4)
    doubled = fold_in(model, USERS, pa.concat_tables([one, one]))
    weighted = fold_in(model, USERS, one.append_column("weight", pa.array([2.0] * 4)))
    np.testing.assert_allclose(weighted.factors, doubled.factors, atol=1e-6)
    strange = pa.table({"id": one["id"], "other": pa.array([-5] * 4), "rating": one["rating"]})
    mixed = pa.concat_tables([one, strange])
    assert fold_in(model, USERS, mixed).factors.tobytes() == fold_in(model, USERS, one).factors.tobytes()
    ignored = mixed.append_column("weight", pa.array([1.0] * 4 + [0.0] * 4))
    assert fold_in(model, USERS, ignored).counts.tolist() == fold_in(model, USERS, one).counts.tolist()


def test_merging_adds_and_replaces() -> None:
    _, model = fitted(FORMS["learned"])
    first = model.user.ids[0].as_py()
    ratings = pa.table({"id": [first, -7], "other": model.item.ids[:2], "rating": [1.0, 5.0]})
    folded = fold_in(model, USERS, ratings)
    side = merged(model.user, folded)
    assert side.ids.to_pylist() == sorted([-7, *model.user.ids.to_pylist()])
    assert side.factors[0].tolist() == folded.factors[0].tolist()
    assert side.factors[1].tolist() == folded.factors[1].tolist()
    assert side.factors[2:].tobytes() == model.user.factors[1:].tobytes()
    assert side.counts[:2].tolist() == [1, 1]


def test_what_cannot_be_folded_in() -> None:
    p, model = fitted(FORMS["learned"])
    row = pa.table({"id": [1], "indices": [[0, 9]], "values": pa.array([[1.0, 1.0]], pa.list_(pa.float32()))})
    with pytest.raises(DataError, match=r"item features hold indices that are no feature column \(0 to 2\) in 1 row"):
        fold_in(model, ITEMS, of_side(p, ITEMS).slice(0, 0), row)
    with pytest.raises(DataError, match=r"feature rows name item \d+, .* more than once"):
        fold_in(model, ITEMS, of_side(p, ITEMS).slice(0, 0), pa.concat_tables([p.item_features] * 2))
    none = SideSettings(reg=0.0, bias="none")
    loose = replace(model, settings=model.settings.model_copy(update={"user": none}))
    with pytest.raises(FitError, match=r"user \d+ has no solution: its ratings do not determine it and λ is 0"):
        fold_in(loose, USERS, of_side(p, USERS).slice(0, 1))
