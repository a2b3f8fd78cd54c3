"""What is read out of factors: axes that no rotation changes, and the films and features along them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from model_factory import random_model
from recsys_spark.als.model import FittedModel
from recsys_spark.errors import DataError
from recsys_spark.explore import embedding


def rotated(model: FittedModel, seed: int) -> FittedModel:
    """The same model in another basis: every prediction stays."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(model.rank, model.rank)))
    sides = {
        name: replace(
            side,
            factors=np.ascontiguousarray((side.factors @ turn).astype(np.float32)),
            projection=np.ascontiguousarray(side.projection @ turn),
        )
        for name, side in (("user", model.user), ("item", model.item))
    }
    return replace(model, **sides)


def test_axes_and_features_are_those_of_any_rotation():
    model = random_model(items=60)
    found, turned = (embedding.principal_axes(m.item, 1) for m in (model, rotated(model, 3)))
    assert np.array_equal(found.rows, np.flatnonzero(model.item.counts >= 1))
    assert turned.share == pytest.approx(found.share, abs=1e-5)
    before = found.coordinates(model.item.factors)
    after = turned.coordinates(rotated(model, 3).item.factors)
    assert after == pytest.approx(before, abs=1e-4)
    features = [embedding.feature_directions(m.item, a) for m, a in ((model, found), (rotated(model, 3), turned))]
    pd.testing.assert_frame_equal(*features, atol=1e-4)
    assert features[0]["name"].tolist() == ["Drama", "length"]


def test_axes_are_orthogonal_and_the_widest_first():
    model = random_model(items=60)
    axes = embedding.principal_axes(model.item, 1)
    along = axes.coordinates(model.item.factors[axes.rows])
    covariance = along.T @ along
    assert covariance == pytest.approx(np.diag(np.diag(covariance)), abs=1e-6)
    assert np.diag(covariance) / np.trace(covariance) == pytest.approx(axes.share)
    assert (np.diff(axes.share) <= 0).all()
    assert (along.max(0) >= -along.min(0)).all()


def test_fewer_films_than_factors_leave_axes_without_width():
    axes = embedding.principal_axes(random_model(items=4, rank=5).item, 1)
    assert axes.share[len(axes.rows) :] == pytest.approx(0, abs=1e-12)


def test_what_has_no_axes_says_so():
    with pytest.raises(DataError, match="rank 0, biases alone: there are no factors to look into; train with train"):
        embedding.principal_axes(random_model(rank=0).item, 1)
    with pytest.raises(DataError, match="0 rows of 30 have 1000 training ratings or more: ask for fewer"):
        embedding.principal_axes(random_model().item, 1000)
    model = random_model(features=False)
    with pytest.raises(DataError, match="no features on this side: there is no projection to show; run jobs/features"):
        embedding.feature_directions(model.item, embedding.principal_axes(model.item, 1))


def test_the_ends_of_an_axis_outermost_first():
    films = pd.DataFrame({"title": list("abcd"), "axis 1": [0.1, -2.0, 3.0, -1.0]})
    ends = embedding.extreme_films(films, "axis 1", 2)
    assert ends["axis 1: low"].tolist() == ["b", "d"]
    assert ends["axis 1: high"].tolist() == ["c", "a"]


def test_a_film_is_led_by_its_rarest_genre_of_those_shown():
    genres = pd.Series([["Drama"], ["Drama", "War"], ["War", "Western"], [], None, ["Drama", "Comedy"], ["Comedy"]])
    assert embedding.common_genres(genres, 2) == ["Drama", "War"]
    found = embedding.leading_genre(genres, ["Drama", "War"])
    assert found.tolist() == ["Drama", "War", "War", "other", "other", "Drama", "other"]
