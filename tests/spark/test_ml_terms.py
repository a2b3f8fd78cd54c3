"""The model's further terms through Params, DataFrames and Spark stages."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

from fit_bits import bits
from problems import Problem, graph_table, problem
from recsys_spark import BlockALS
from recsys_spark.als.train import train
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import ConfigError, DataError

TERMS = {
    "baseline": {"unobservedWeight": 0.1},
    "number": {"unobservedWeight": 0.1, "unobservedTarget": 2.0},
    "implicit": {"implicitPrefs": True, "alpha": 2.0},
}


def with_graphs(seed: int = 0) -> Problem:
    p, rng = problem(users=25, items=20, held_out=0.0, seed=seed), np.random.default_rng(seed)
    for side, table in ((USERS, p.user_features), (ITEMS, p.item_features)):
        s = np.triu(rng.random((len(table),) * 2) * (rng.random((len(table),) * 2) < 0.2), 1)
        p.graphs[side] = graph_table(s + s.T, table["id"].to_numpy())
    return p


def estimator(spark: SparkSession, p: Problem, **params) -> BlockALS:
    made = BlockALS(
        rank=3, maxIter=3, regUser=1.0, regItem=2.0, numUserBlocks=2, numItemBlocks=3, userGraphWeight=0.5,
        itemGraphWeight=0.7, **params,
    )  # fmt: skip
    made.setUserFeatures(spark.createDataFrame(p.user_features), p.columns[0])
    made.setItemFeatures(spark.createDataFrame(p.item_features), p.columns[1])
    made.setUserGraph(spark.createDataFrame(p.graphs[USERS]).where("i < j"))
    return made.setItemGraph(spark.createDataFrame(p.graphs[ITEMS]).where("i < j"))


@pytest.mark.parametrize(("cells", "nonnegative"), [("baseline", True), ("number", False), ("implicit", False)])
def test_stages_give_the_bits_of_one_process_with_all_terms_on(
    spark: SparkSession, cells: str, nonnegative: bool
) -> None:
    p = with_graphs()
    made = estimator(spark, p, nonnegative=nonnegative, execution="stages", **TERMS[cells])
    fitted = made.copy().fit(spark.createDataFrame(p.ratings)).fitted
    assert bits(fitted) == bits(train(p.executor(), made.settings(), p.columns))
    assert fitted.history["graph_item"].to_pylist()[-1] > 0
    assert (fitted.item.factors.min() >= 0) == nonnegative


def test_films_known_by_an_edge_alone_are_in_the_model(spark: SparkSession) -> None:
    p = with_graphs()
    known = p.item_features["id"][0].as_py()
    edges = spark.createDataFrame([(20_000, known, 1.0)], "i long, j int, s double")
    made = BlockALS(rank=2, maxIter=3, regUser=1.0, regItem=1.0, itemGraphWeight=1.0).setItemGraph(edges)
    fitted = made.fit(spark.createDataFrame(p.ratings)).fitted
    rows = fitted.item.index(pa.array([20_000, known]))
    assert (rows >= 0).all()
    assert fitted.item.counts[rows[0]] == 0
    assert fitted.item.factors[rows[0]] @ fitted.item.factors[rows[1]] > 0


def test_a_graph_that_is_wanted_and_not_given(spark: SparkSession) -> None:
    p = problem()
    with pytest.raises(ConfigError, match="item.graph is 0.5, but the blocks have no edge between items: give a graph"):
        BlockALS(itemGraphWeight=0.5).fit(spark.createDataFrame(p.ratings))
    with pytest.raises(DataError, match="graph: the table has no column s"):
        BlockALS(itemGraphWeight=0.5).setItemGraph(spark.createDataFrame([(1, 2)], "i long, j long")).fit(
            spark.createDataFrame(p.ratings)
        )


def test_settings_that_exclude_one_another() -> None:
    with pytest.raises(ConfigError, match="gives cells without a rating weight 1 and target 0"):
        BlockALS(implicitPrefs=True, unobservedWeight=0.5).settings()
    with pytest.raises(TypeError):
        BlockALS(unobservedTarget="mean")
    assert BlockALS(unobservedTarget="baseline").settings().unobserved.target == "baseline"


def test_implicit_feedback_reaches_the_objective_of_pyspark(spark: SparkSession) -> None:
    """Both minimise one objective; from other starts they end in like minima. A pair is given twice, one r negative."""
    rng = np.random.default_rng(1)
    likes = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    u, i = np.nonzero(rng.random((40, 30)) < np.where(likes > 0.5, 0.6, 0.05))
    r = rng.integers(1, 5, len(u)).astype(float)
    r[::17] *= -1
    table = pa.table({"user": [*u, u[0]], "item": [*i, i[0]], "rating": [*r, r[0]]})
    ratings = spark.createDataFrame(table)
    params = {"rank": 3, "maxIter": 8, "regParam": 0.1, "implicitPrefs": True, "alpha": 2.0, "seed": 3}

    def objective(user_rows: Iterable[tuple], item_rows: Iterable[tuple]) -> float:
        sides, total = [], 0.0
        for rows, name, n in ((user_rows, "user", 40), (item_rows, "item", 30)):
            factors, known = np.zeros((n, 3)), dict(rows)
            factors[list(known)] = list(known.values())
            positive = np.bincount(table[name].to_numpy()[table["rating"].to_numpy() > 0], minlength=n)
            total += 0.1 * (positive * (factors**2).sum(1)).sum()
            sides.append(factors)
        score = sides[0] @ sides[1].T
        total += (score**2).sum()
        for user, item, rating in zip(*(table[c].to_pylist() for c in ("user", "item", "rating")), strict=True):
            total += (1 + 2 * abs(rating)) * ((rating > 0) - score[user, item]) ** 2 - score[user, item] ** 2
        return total

    # more iterations without a checkpoint directory, and its lineage overflows the JVM's stack
    theirs = ALS(numUserBlocks=1, numItemBlocks=1, **params).fit(ratings)
    ours = BlockALS(regModeUser="weighted", regModeItem="weighted", relaxation=1.0, **params).fit(ratings).fitted
    found = objective(*(zip(s.ids.to_pylist(), s.factors, strict=True) for s in (ours.user, ours.item)))
    expected = objective(*(((r.id, r.features) for r in f.collect()) for f in (theirs.userFactors, theirs.itemFactors)))
    assert found == pytest.approx(expected, rel=0.02)
    assert ours.history["objective"].to_pylist()[-1] == pytest.approx(found, rel=1e-4)
