"""Blocks where no process knows all ids: the same blocks, and nothing on the driver that grows with the ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from leaks import persisted
from problems import Problem, columns_of, graph_table, problem
from recsys_spark import BlockALS
from recsys_spark.blocks import build, ranged
from recsys_spark.blocks.build import blocks_of, row_bytes
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.partition import row_costs
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.plan import Plan, SidePlan
from recsys_spark.blocks.ranged import cut_side, ranged_blocks
from recsys_spark.blocks.wire import unpack
from recsys_spark.errors import DataError
from recsys_spark.ml.model import BlockALSModel

RESULTS = "spark.driver.maxResultSize"


def case(strings: bool) -> Problem:
    """A problem with a graph, ratings of weight 0, an id that only they have, and held-out ratings of strangers."""
    p = problem()
    weights = np.random.default_rng(1).integers(0, 3, len(p.ratings)).astype(np.float32)
    extra = {"user": [-5, 77_777, 5], "item": [88_888, 12, 99_999], "rating": np.float32([1, 2, 3])}
    extra |= {"held_out": [False, True, True], "weight": np.float32([0, 1, 1])}
    strangers = pa.table(extra).cast(p.ratings.append_column("weight", pa.array(weights)).schema)
    p.ratings = pa.concat_tables([p.ratings.append_column("weight", pa.array(weights)), strangers])
    s = np.random.default_rng(2).random((6, 6)).astype(np.float32)
    p.graphs[ITEMS] = graph_table(np.triu(s, 1) + np.triu(s, 1).T, p.item_features["id"].to_numpy()[:6])
    if strings:
        for name in ("user", "item"):
            at = p.ratings.column_names.index(name)
            p.ratings = p.ratings.set_column(at, name, _texts(p.ratings[name]))
        p.user_features, p.item_features = (
            t.set_column(0, "id", _texts(t["id"])) for t in (p.user_features, p.item_features)
        )
        table = p.graphs[ITEMS]
        p.graphs[ITEMS] = table.set_column(0, "i", _texts(table["i"])).set_column(1, "j", _texts(table["j"]))
    return p


def _texts(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([f"ü{i}" for i in ids.to_pylist()])


@pytest.mark.parametrize(("strings", "grid"), [(False, (2, 3)), (True, (5, 2))])
def test_the_blocks_are_those_of_a_plan_of_all_ids(spark: SparkSession, strings: bool, grid: tuple[int, int]) -> None:
    p = case(strings)
    tables = {s: spark.createDataFrame(t) for s, t in ((USERS, p.user_features), (ITEMS, p.item_features))}
    graphs = {side: spark.createDataFrame(table) for side, table in p.graphs.items()}
    before = persisted(spark)
    with EncodedRatings(spark.createDataFrame(p.ratings).repartition(3), limit=0) as ratings:
        assert not ratings.tallied
        with ranged_blocks(ratings, tables, (2, 3), grid, graphs) as (layout, records, ids):
            found, packed = dict(records.collect()), dict(ids.collect())
    assert persisted(spark) <= before
    whole = p.plan(1, 1)
    plan = Plan(*(SidePlan(whole.side(s).ids, layout.bounds[s], whole.side(s).n_features) for s in (USERS, ITEMS)))
    assert layout.grid == plan.grid._replace(paired=True)
    features = {USERS: p.user_features, ITEMS: p.item_features}
    blocks = build_blocks(plan, p.ratings.to_batches(max_chunksize=50), features, p.graphs)
    for slot, side, block in plan.grid.blocks():
        ids, made, rows = plan.side(side).ids_of(block), found[slot], unpack(packed[slot])
        assert made.ids.equals(ids)
        assert rows["id"].equals(ids)
        assert rows["row"].to_pylist() == list(range(made.start, made.stop))
        assert made.to_bytes() == blocks[slot].localised(ids).to_bytes()


@pytest.fixture
def skewed(spark: SparkSession) -> DataFrame:
    """Ratings of 3,000 items, the first ones most popular."""
    item = (np.random.default_rng(0).pareto(1.0, 30_000) * 20).astype(np.int64) % 3_000
    table = pa.table({"user": np.arange(30_000) % 700, "item": item, "rating": np.ones(30_000, np.float32)})
    return spark.createDataFrame(table)


def test_a_sample_cuts_evenly_and_does_not_know_of_partitions(
    skewed: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "SAMPLE", 100)
    monkeypatch.setattr(ranged, "_SAMPLE_A_BLOCK", 100)
    cuts = []
    for partitions in (1, 4):
        with EncodedRatings(skewed.repartition(partitions), limit=0) as ratings:
            cuts.append(cut_side(ratings, ITEMS, None, 0, 5))
            counts = ratings.counts[ITEMS]
    assert cuts[0].starts.equals(cuts[1].starts)
    assert counts is not None
    counts = counts.sort_by("id")
    costs = row_costs(counts["count"].to_numpy(), 0)
    shares = np.diff(np.r_[0, np.cumsum(costs)][cuts[0].edges(counts["id"].combine_chunks())])
    assert shares.max() <= 1.5 * max(shares.mean(), costs.max())


def test_blocks_refer_to_no_more_routed_rows_than_a_task_holds(
    spark: SparkSession, skewed: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = spark.sparkContext.defaultParallelism
    with EncodedRatings(skewed, limit=0) as ratings:
        assert blocks_of(ratings, 0, ITEMS, row_bytes(4)) == tasks
        monkeypatch.setattr(build, "MAX_VIEW", 20_000)  # room for 1,000 rows: of 700 users, not of 3,000 items
        assert blocks_of(ratings, 0, USERS, row_bytes(4)) == tasks
        assert blocks_of(ratings, 0, ITEMS, row_bytes(4)) == 30
        assert blocks_of(ratings, 3, ITEMS, row_bytes(4)) == 3
        with ranged_blocks(ratings, {}, (0, 0), (0, 0), rank=4) as (layout, records, _):
            assert (layout.grid.users, layout.grid.items) == (30, tasks)
            seen = [len(block.refers) for _, block in records.collect() if block.side == USERS]
    assert len(seen) == 30
    assert max(seen) <= 1_000


@pytest.fixture
def little_room(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A driver that takes less from any job than the ids that the test's fits have."""
    monkeypatch.setattr(ranged, "SAMPLE", 1 << 10)
    monkeypatch.setattr(ranged, "_SAMPLE_A_BLOCK", 1 << 8)
    conf = spark.sparkContext._jsc.sc().conf()
    before = conf.get(RESULTS, "1g")
    conf.set(RESULTS, "100k")
    yield
    conf.set(RESULTS, before)


def test_what_comes_to_the_driver_does_not_grow_with_the_ids(
    spark: SparkSession, little_room: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(users: int, exchange: str, items: int | None = None) -> BlockALSModel:
        numbers = (f"pmod(id, {users}) * 1000003 as user", f"pmod(id * 7, {items or users}) * 11 as item")
        made = spark.range(0, 2 * users, 1, 4).selectExpr(*numbers, "1f + id % 5 as rating")
        tables = made.selectExpr("user as id", "array(0) as indices", "array(1f) as values").dropDuplicates(["id"])
        als = BlockALS(
            rank=2, maxIter=1, numUserBlocks=2, numItemBlocks=2, exchange=exchange, execution="stages",
            checkpointDir=str(tmp_path),
        )  # fmt: skip
        return als.setUserFeatures(tables, columns_of("group", 1)).fit(made)

    def refuse(value: object) -> None:
        raise AssertionError("something was broadcast")

    with monkeypatch.context() as patch:
        patch.setattr(spark.sparkContext, "broadcast", refuse)
        for users in (20_000, 80_000):
            assert len(fit(users, "shuffle").trained.user) == users
    assert len(fit(80_000, "mixed", items=100).trained.user) == 80_000
    with pytest.raises(Exception, match=RESULTS):
        fit(20_000, "broadcast")


def test_feature_rows_without_an_id_or_with_a_twin_are_refused(spark: SparkSession) -> None:
    ddl = "id long, indices array<int>, values array<float>"
    with EncodedRatings(spark.createDataFrame(problem().ratings), limit=0) as ratings:
        for ids, words in (
            ([None, 3], "1 rows of the user features have a null id"),
            ([4, 3, 4], "feature rows name user 4 more than once"),
        ):
            rows = spark.createDataFrame([(i, [0], [1.0]) for i in ids], ddl)
            with pytest.raises(DataError, match=words), ranged_blocks(ratings, {USERS: rows}, (1, 0), (1, 1)):
                pass
