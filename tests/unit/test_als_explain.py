"""Explanations: lines that add up to the score, in every form of the model."""

from __future__ import annotations

import pyarrow as pa
import pytest

from foldin_case import FORMS, fitted, of_side
from recsys_spark.als.explain import FEATURE, ITEM_BIAS, MEAN, RATING, UNRATED, USER_BIAS, explain
from recsys_spark.als.foldin import fold_in
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import DataError


def mine(table: pa.Table, user: int) -> pa.Table:
    return table.filter(pa.compute.equal(table["id"], user))


def score(model: FittedModel, user: int, item: int) -> float:
    return float(model.predict(pa.array([user]), model.item.ids.slice(item, 1), clip=False)[0])


@pytest.mark.parametrize("form", [form for form in FORMS if form != "biases alone"])
def test_lines_add_up_to_the_score(form: str) -> None:
    p, model = fitted(FORMS[form])
    for place in (0, 7):  # the first one's ratings hold a pair twice
        user = p.ratings["user"][place].as_py()
        for item in (0, 11):
            ratings = mine(of_side(p, USERS), user)
            lines = explain(model, item, ratings, mine(p.user_features, user))
            assert sum(line.contribution for line in lines) == pytest.approx(score(model, user, item), abs=2e-4)
            assert [line.term for line in lines[:3]] == [MEAN, USER_BIAS, ITEM_BIAS]
            seen = [line.row for line in lines if line.term == RATING]
            assert sorted(model.item.ids[row].as_py() for row in seen) == sorted(ratings["other"].to_pylist())
            names = [model.user.columns[f].name for f in mine(p.user_features, user)["indices"][0].as_py()]
            assert [line.name for line in lines if line.term == FEATURE] == names
            assert (lines[-1].term == UNRATED) == (form in ("implicit", "cells", "baseline cells"))
            bias = float(model.user.biases[model.user.index(pa.array([user]))[0]])
            assert lines[1].contribution == pytest.approx(bias, abs=1e-4)


def test_a_part_is_what_the_score_follows_of_a_rating() -> None:
    """The score is linear in a rating: its part is what a step of that rating moves, times y = r - c."""
    p, model = fitted(FORMS["weighted, no bias"])
    user = p.ratings["user"][7].as_py()
    ratings, described = mine(of_side(p, USERS), user), mine(p.user_features, user)
    lines = explain(model, 4, ratings, described)
    stars = ratings["rating"].to_numpy().copy()
    stars[2] += 1.0
    moved = fold_in(model, USERS, ratings.set_column(2, "rating", pa.array(stars)), described)
    step = float(moved.factors[0] @ model.item.factors[4] + model.item.biases[4]) - score(model, user, 4)
    row = int(model.item.index(pa.array([ratings["other"][2].as_py()]))[0])
    part = next(line.contribution for line in lines if line.row == row)
    y = ratings["rating"][2].as_py() - model.item.biases[row]
    assert part == pytest.approx(step * y, abs=1e-4)


def test_a_user_of_features_alone() -> None:
    p, model = fitted(FORMS["learned"])
    user = next(u for u, f in zip(*p.user_features.select(["id", "indices"]).to_pydict().values(), strict=True) if f)
    nothing = of_side(p, USERS).slice(0, 0)
    lines = explain(model, 3, nothing, mine(p.user_features, user))
    folded = fold_in(model, USERS, nothing, mine(p.user_features, user))
    offset = model.mu + folded.biases[0] + model.item.biases[3]
    assert sum(line.contribution for line in lines) == pytest.approx(offset + folded.factors[0] @ model.item.factors[3])
    assert {line.term for line in lines} == {MEAN, USER_BIAS, ITEM_BIAS, FEATURE}


def test_explanations_are_of_one_user() -> None:
    p, model = fitted(FORMS["learned"])
    with pytest.raises(DataError, match="of one user, found ratings and features of 30"):
        explain(model, 0, of_side(p, USERS))
    assert of_side(p, ITEMS).num_rows == len(p.ratings)
