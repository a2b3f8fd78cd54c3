"""The part of scoring that runs in tasks, as a plain function over Arrow batches."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from recsys_spark.als.model import FittedModel
from recsys_spark.schema import RECOMMENDATIONS_DDL
from recsys_spark.score import recommend
from recsys_spark.score.recommend import recommend_batches, recommendations_ddl
from tests.model_factory import random_model

DAY = date(2024, 2, 29)


def batch(users: list[object], seen: list[list[object] | None], kind: pa.DataType | None = None) -> pa.RecordBatch:
    kind = kind or pa.int64()
    return pa.RecordBatch.from_pydict({"user": pa.array(users, kind), "seen": pa.array(seen, pa.list_(kind))})


def run(model: FittedModel, n: int, *batches: pa.RecordBatch) -> list[dict[str, object]]:
    out = recommend_batches(SimpleNamespace(value=model), n, DAY, iter(batches))
    return pa.Table.from_batches(out).to_pylist()


def test_rows_are_the_best_unseen_items_of_each_user() -> None:
    model = random_model()
    seen = [7, 9, 11, 10_000, 7]
    rows = run(model, 3, batch([103, 100], [seen, None]))
    assert [(row["user"], row["rank"]) for row in rows] == [(103, 1), (103, 2), (103, 3), (100, 1), (100, 2), (100, 3)]
    for user, left_out in ((103, set(seen)), (100, set())):
        ids = [item for item in model.item.ids.to_pylist() if item not in left_out]
        scores = model.predict(pa.array([user] * len(ids)), pa.array(ids), clip=False)
        best = np.argsort(-scores, kind="stable")[:3]
        mine = [row for row in rows if row["user"] == user]
        assert [row["item"] for row in mine] == [ids[b] for b in best]
        assert [row["score"] for row in mine] == [float(scores[b]) for b in best]
    assert {row["run_date"] for row in rows} == {DAY}


def test_unknown_users_get_the_items_of_highest_bias_and_full_users_fewer_rows() -> None:
    model = random_model()
    items = model.item.ids.to_pylist()
    rows = run(model, 3, batch([1, 100, 103], [[], items[1:], items]))
    best = [items[b] for b in np.argsort(-model.item.biases)[:3]]
    assert [row["item"] for row in rows if row["user"] == 1] == best
    assert [(row["item"], row["rank"]) for row in rows if row["user"] == 100] == [(items[0], 1)]
    assert not [row for row in rows if row["user"] == 103]


def test_string_ids() -> None:
    model = random_model(string_ids=True)
    rows = run(model, 29, batch(["u0100", "new"], [["i0007", "nonsense"], None], pa.string()))
    assert len(rows) == 58
    assert "i0007" not in [row["item"] for row in rows[:29]]


def test_slices_and_empty_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    rng = np.random.default_rng(0)
    users = [*range(100, 136, 3), 5, 6]
    seen = [rng.choice(model.item.ids.to_numpy(), size).tolist() for size in rng.integers(0, 20, len(users))]
    whole = run(model, 4, batch(users, seen))
    monkeypatch.setattr(recommend, "USERS_AT_ONCE", 3)
    assert run(model, 4, batch(users, seen)) == whole
    padded = batch([0, *users], [[7], *seen])
    assert run(model, 4, padded.slice(1, 5), batch([], []), padded.slice(6)) == whole


def test_the_schema_is_the_one_of_the_tables() -> None:
    assert recommendations_ddl(random_model()) == RECOMMENDATIONS_DDL
    assert recommendations_ddl(random_model(string_ids=True)).startswith("user string, rank int, item string,")
