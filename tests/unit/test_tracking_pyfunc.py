"""The loaded model as MLflow sees it: pairs are scored, users alone get a top-N."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_spark.als.model_io import save_model
from recsys_spark.errors import DataError
from recsys_spark.tracking.pyfunc import Scorer, _load_pyfunc
from tests.model_factory import random_model


def test_pairs_are_scored_on_the_same_index(tmp_path: Path) -> None:
    model = random_model()
    save_model(model, tmp_path / "m")
    pairs = pd.DataFrame({"item": [7, 9, 7], "user": [100, 1, 103]}, index=[5, 3, 1])
    out = _load_pyfunc(str(tmp_path / "m")).predict(pairs)
    assert out.columns.tolist() == ["prediction"]
    assert out.index.tolist() == [5, 3, 1]
    expected = model.predict(pa.array([100, 1, 103]), pa.array([7, 9, 7]))
    np.testing.assert_array_equal(out["prediction"].to_numpy(), expected)


def test_whole_numbers_held_as_floats_and_missing_ids() -> None:
    model = random_model()
    out = Scorer(model).predict(pd.DataFrame({"user": [100.0, np.nan], "item": [7, 9]}))
    expected = model.predict(pa.array([100, None], pa.int64()), pa.array([7, 9]))
    np.testing.assert_array_equal(out["prediction"].to_numpy(), expected)


def test_users_alone_get_a_top_n() -> None:
    model = random_model()
    users = pd.DataFrame({"user": [103, 1]})
    out = Scorer(model).predict(users, {"n": 3})
    assert out.columns.tolist() == ["user", "rank", "item", "score"]
    assert out["user"].tolist() == [103, 103, 103, 1, 1, 1]
    assert out["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    rows, scores = model.top_n(pa.array([103, 1]), 3)
    assert out["item"].tolist() == model.item.ids.take(pa.array(rows.ravel())).to_pylist()
    np.testing.assert_array_equal(out["score"].to_numpy(), scores.ravel())
    assert len(Scorer(model).predict(users)) == 20
    assert len(Scorer(model).predict(users, {"n": 1000})) == 60


def test_string_ids() -> None:
    out = Scorer(random_model(string_ids=True)).predict(pd.DataFrame({"user": ["u0100", "x"]}), {"n": 1})
    assert out["user"].tolist() == ["u0100", "x"]
    assert out["item"].str.startswith("i").all()


@pytest.mark.parametrize(
    ("frame", "params", "words"),
    [
        (pd.DataFrame({"item": [1]}), None, "with the column user"),
        (np.zeros(3), None, "must be a DataFrame"),
        (pd.DataFrame({"user": [1]}), {"n": 0}, "n must be at least 1, found 0"),
        (pd.DataFrame({"user": [1.5], "item": [1]}), None, "column user holds values that are no ids"),
        (pd.DataFrame({"user": [1], "item": [[1]]}), None, "looked up in a model whose ids are int64"),
        (pd.DataFrame({"user": [1, "a"]}), None, "column user holds values that are no ids"),
    ],
)
def test_input_that_cannot_be_used(frame: pd.DataFrame, params: dict[str, int] | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Scorer(random_model()).predict(frame, params)
