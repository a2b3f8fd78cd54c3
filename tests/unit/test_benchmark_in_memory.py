"""Contenders of one process, on a tiny data set; those of the extra where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_spark.benchmark.contender import open_runner, timed
from recsys_spark.benchmark.runners.in_memory import matrix_of, places
from recsys_spark.benchmark.schedule import plan_of
from recsys_spark.benchmark.spec import HELD_OUT, KNOWN, TEST, FitOrder, Size, Spec
from recsys_spark.config import load_settings
from recsys_spark.features.columns import COLUMNS_SCHEMA
from recsys_spark.schema import INDICES, ITEM, RATING, USER, VALUES

USERS, ITEMS, RATINGS = 60, 80, 2_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of a planted rank-2 model with little noise, and one feature in four of each item."""
    folder, rng = tmp_path_factory.mktemp("ratings"), np.random.default_rng(0)
    users, items = np.divmod(rng.choice(USERS * ITEMS, RATINGS, replace=False), ITEMS)
    p, q = rng.normal(0, 0.8, (USERS, 2)), rng.normal(0, 0.8, (ITEMS, 2))
    ratings = 3 + (p[users] * q[items]).sum(1) + rng.normal(0, 0.05, RATINGS)
    part = rng.random(RATINGS)
    ids = {USER: pa.array(users * 3 + 7, pa.int32()), ITEM: pa.array(items * 2, pa.int32())}
    rows = pa.table({**ids, RATING: pa.array(ratings, pa.float32()), HELD_OUT: part > 0.85})
    features = [[int(item) % 4] for item in range(ITEMS)]
    tables = {
        KNOWN: rows.filter(part < 0.9),
        TEST: rows.filter(part >= 0.9).drop_columns([HELD_OUT]),
        ITEM: pa.table({ITEM: np.arange(ITEMS) * 2, INDICES: features, VALUES: [[1.0]] * ITEMS}),
        f"{ITEM}_columns": pa.Table.from_pylist(
            [{"index": at, "group": "genre", "name": f"genre={at}"} for at in range(4)], COLUMNS_SCHEMA
        ),
    }
    for name, table in tables.items():
        (folder / name).mkdir()
        pq.write_table(table, folder / name / "part-0.parquet")
        (folder / name / "_SUCCESS").touch()
    return folder


def spec(name: str, data: Path) -> Spec:
    settings = load_settings([], ["benchmark.rank=4"], {})
    plan = plan_of(settings, settings.benchmark, settings.benchmark.known[name])
    where = f"file:{data}"
    return Spec(name=name, plan=plan, data=where, features=where, fits=(), cores=2, driver_memory="1g")


def test_a_matrix_in_the_order_of_ids():
    rows = pa.table({USER: [9, 3, 9], ITEM: [2, 8, 8], RATING: pa.array([1.0, 2.0, 3.0], pa.float32())})
    found = matrix_of(rows)
    assert (found.users.tolist(), found.items.tolist()) == ([3, 9], [2, 8])
    assert found.matrix.toarray().tolist() == [[0, 2], [1, 3]]
    assert places(found.items, np.array([8, 5, 2, 99, 0])).tolist() == [1, -1, 0, -1, -1]


@pytest.mark.parametrize("name", ["cmfrec", "cmfrec_features"])
def test_cmfrec(data: Path, name: str) -> None:
    pytest.importorskip("cmfrec", reason="an extra: pip install 'recsys-spark[benchmark]'")
    with open_runner(spec(name, data)) as runner:
        assert timed(runner, FitOrder(max_iter=0)).judged is None
        once = timed(runner, FitOrder(max_iter=1, reg=0.02, judged=True)).judged
        whole = timed(runner, FitOrder(max_iter=8, reg=0.02, judged=True, served=True))
        known = pd.read_parquet(data / KNOWN)
        assert runner.size() == Size(ratings=len(known), users=known[USER].nunique(), items=known[ITEM].nunique())
        assert runner.versions()["version.cmfrec"]
    assert whole.judged is not None
    assert once is not None
    assert whole.judged.test_rmse < once.test_rmse < 1.5
    assert whole.judged.test_rmse < 0.5
    assert whole.judged.rows == len(pq.read_table(data / TEST))
    assert whole.served is not None
    assert whole.served.transform is not None
    assert (whole.shuffled, whole.served.top_n) == (None, None)


def test_implicit(data: Path) -> None:
    pytest.importorskip("implicit", reason="an extra: pip install 'recsys-spark[benchmark]'")
    with open_runner(spec("implicit", data)) as runner:
        whole = timed(runner, FitOrder(max_iter=3, judged=True, served=True))
    assert whole.judged is None  # preferences are not ratings
    assert whole.served is not None
    assert None not in (whole.served.top_n, whole.served.save, whole.served.load)
    assert whole.served.transform is None
