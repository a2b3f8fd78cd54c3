"""Baselines on small problems whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_spark import lake
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.config import PysparkSettings
from recsys_spark.errors import DataError
from recsys_spark.evaluate.baselines import add_baselines, add_int_ids, add_pyspark_als, als_blocks
from recsys_spark.evaluate.rating import rmse

DDL = "user bigint, item bigint, rating float"
NAMES = ("global_mean", "biases", "pyspark_als", "pyspark_als_centred")
SETTINGS = AlsSettings(rank=7, max_iter=4, item=SideSettings(reg_groups={"year": 2.0}, graph=0.1))
PYSPARK = PysparkSettings(rank=2, reg=0.05, iterations=3)


def planted(seed: int = 5) -> list[tuple[int, int, float]]:
    """Ratings 3 + a_u + b_i + noise of 25 users and 15 items, each pair with probability 0.7."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 0.7, 25), rng.normal(0, 0.7, 15)
    return [
        (u, 100 + i, float(np.clip(3 + a[u] + b[i] + rng.normal(0, 0.1), 0.5, 5)))
        for u in range(25)
        for i in range(15)
        if rng.random() < 0.7
    ]


@pytest.fixture(scope="module")
def split(spark):
    rows = planted()
    train = spark.createDataFrame([row for k, row in enumerate(rows) if k % 5], DDL).persist()
    strangers = [(1, 999, 3.0), (999, 101, 3.0), (999, 999, 3.0)]
    test = spark.createDataFrame([row for k, row in enumerate(rows) if k % 5 == 0] + strangers, DDL).persist()
    yield train, test
    train.unpersist()
    test.unpersist()


@pytest.fixture(scope="module")
def predicted(spark, split, tmp_path_factory):
    train, test = split
    where = str(tmp_path_factory.mktemp("evaluate") / "checkpoints")
    out = add_baselines(
        test,
        train,
        NAMES,
        settings=SETTINGS,
        pyspark=PYSPARK,
        scale=(0.5, 5.0),
        checkpoints=where,
    )
    return out.toPandas().set_index(["user", "item"]), out.dtypes, where


def test_every_row_has_every_baseline(predicted, split):
    found, dtypes, _ = predicted
    assert len(found) == split[1].count()
    assert [name for name, _ in dtypes] == ["user", "item", "rating", *NAMES]
    assert {kind for name, kind in dtypes if name in NAMES} == {"float"}
    assert found.notna().all(axis=None)
    assert found[list(NAMES)].to_numpy().min() >= 0.5
    assert found[list(NAMES)].to_numpy().max() <= 5.0


def test_global_mean(predicted, split):
    mean = split[0].toPandas()["rating"].astype(float).mean()
    assert predicted[0]["global_mean"].to_numpy() == pytest.approx(np.full(len(predicted[0]), mean))


def test_biases_explain_planted_biases(predicted):
    known = predicted[0].query("user != 999 and item != 999")
    errors = {name: rmse(known["rating"].to_numpy(), known[name].to_numpy()) for name in NAMES}
    assert errors["biases"] < 0.5 * errors["global_mean"]
    assert errors["pyspark_als"] < errors["global_mean"]
    assert errors["pyspark_als"] != errors["pyspark_als_centred"]


def test_where_pyspark_als_knows_nothing_the_biases_stand_in(predicted):
    found = predicted[0]
    for pair in ((1, 999), (999, 101), (999, 999)):
        row = found.loc[pair]
        assert row["pyspark_als"] == row["pyspark_als_centred"] == row["biases"]
    assert found.loc[(999, 999), "biases"] == pytest.approx(found["global_mean"].iloc[0], abs=1e-3)
    assert found.loc[(1, 999), "biases"] != found.loc[(999, 999), "biases"]


def test_checkpoints_are_removed(spark, predicted):
    assert spark.sparkContext.getCheckpointDir() is not None
    assert not lake.exists(spark, predicted[2])


def test_ids_beyond_int32_and_texts_give_what_small_ids_give(spark, split):
    train, test = split
    test = test.selectExpr("user", "item", "rating", "cast(-1 as float) as biases")
    wide = [f"{column} * 1000000000000 as {column}" for column in ("user", "item")]
    names = [f"lpad(cast({column} as string), 9, '0') as {column}" for column in ("user", "item")]
    results = []
    for change in (["user", "item"], wide, names):
        out = add_pyspark_als(
            test.selectExpr(*change, "rating", "biases"),
            train.selectExpr(*change, "rating"),
            "als",
            PYSPARK,
            offset=3.0,
            scale=(-1.0, 5.0),
            blocks=2,
        )
        results.append(out.orderBy("user", "item").toPandas()["als"].to_numpy())
    strangers = results[0] == -1
    assert strangers.sum() == 3
    for other in results[1:]:
        assert ((other == -1) == strangers).all()
        # Other ids fall into other blocks with other random starts: alike, not equal.
        assert rmse(results[0], other) < 0.1


def test_int_ids(spark):
    train = spark.createDataFrame([(2**40,), (5,), (2**40,)], "user bigint")
    test = spark.createDataFrame([(5,), (2**40,), (6,)], "user bigint")
    found = {row["user"]: row["index"] for row in add_int_ids(test, train, "user", "index").collect()}
    assert found == {5: 1, 2**40: 2, 6: 0}
    small = train.where("user = 5")
    found = {row["user"]: row["index"] for row in add_int_ids(test, small, "user", "index").collect()}
    assert found == {5: 5, 2**40: 4, 6: 6}


def test_blocks_follow_from_the_rows():
    assert [als_blocks(n) for n in (0, 100_000, 1_000_000, 30_000_000)] == [2, 2, 4, 10]


def test_no_training_rows(split):
    train, test = split
    with pytest.raises(DataError, match="no training rows to fit baselines to"):
        add_baselines(
            test, train.limit(0), NAMES, settings=SETTINGS, pyspark=PYSPARK, scale=(0.5, 5.0), checkpoints="unused"
        )
