"""Published blocks come back as the records that were published, read by tasks or through Spark."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from problems import problem
from recsys_spark import lake
from recsys_spark.blocks import published as module
from recsys_spark.blocks.layout import ITEMS, USERS, Block
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.published import PublishedBlocks, plan_ids, ranged_ids, write_blocks
from recsys_spark.errors import NotPublishedError


@pytest.fixture(scope="module")
def expected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[lake.Published, list[bytes]]:
    """A published version in a directory whose name needs quoting, and its records; some blocks have no rows."""
    p = problem()
    plan = p.plan(2, 20)
    blocks = build_blocks(plan, p.ratings.to_batches(), {USERS: p.user_features, ITEMS: p.item_features})

    def write(draft: lake.Draft) -> dict:
        spread = spark.sparkContext.parallelize(list(enumerate(blocks)), 3)
        ids = (plan_ids(spark, plan.user), plan_ids(spark, plan.item))
        made = write_blocks(spark, draft, spread, (plan.user.bounds, plan.item.bounds), ids, p.columns)
        return made | {"metrics": {"train_ratings": 1}}

    root = Path(tmp_path_factory.mktemp("blocks")) / "a b%20ü"
    return lake.publish(spark, str(root), step="blocks", settings={}, inputs={}, write=write), [
        block.to_bytes() for block in blocks
    ]


@pytest.mark.parametrize("local", [True, False])
def test_the_records_come_back(
    spark: SparkSession,
    expected: tuple[lake.Published, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    local: bool,
) -> None:
    """For rows that are routed: localised, and where the fit looks for them."""
    where, records = expected
    blocks = PublishedBlocks(spark, where)
    assert module.local_paths([f"file://{where.path}"]) is not None
    if not local:
        monkeypatch.setattr(module, "local_paths", lambda uris: None)
    plan = spark.sparkContext.broadcast(blocks.plan)
    assert {s: b.to_bytes() for s, b in blocks.records(plan).collect()} == dict(enumerate(records))
    plan.destroy()
    without = PublishedBlocks(spark, where)
    with without.ranged(3) as found:
        layout, by_partition = found.layout, found.records.glom().collect()
        again = [ranged_ids(spark, found, side).toArrow().sort_by("row") for side in (USERS, ITEMS)]
    assert "plan" not in vars(without)  # ids stay with executors
    for side, table in enumerate(again):
        assert table["id"].combine_chunks().equals(blocks.plan.side(side).ids)
        assert table["row"].to_pylist() == list(range(len(table)))
    assert len(by_partition) == layout.grid.partitions
    assert [b.tolist() for b in layout.bounds] == [blocks.plan.side(side).bounds.tolist() for side in (USERS, ITEMS)]
    placed = {slot: (number, made) for number, part in enumerate(by_partition) for slot, made in part}
    for slot, side, block in blocks.plan.grid.blocks():
        number, made = placed[slot]
        assert number == layout.grid.partition(slot)
        ids = blocks.plan.side(side).ids_of(block)
        assert made.to_bytes() == Block.from_buffer(records[slot]).localised(ids).to_bytes()
        assert made.ids.equals(ids)


def test_blocks_that_have_lost_a_file_are_not_read(
    spark: SparkSession, expected: tuple[lake.Published, list[bytes]], tmp_path: Path
) -> None:
    where, _ = expected
    copy = tmp_path / "copy"
    shutil.copytree(where.path, copy)
    next((copy / "entries").rglob("*.parquet")).unlink()
    blocks = PublishedBlocks(spark, replace(where, path=str(copy)))
    plan = spark.sparkContext.broadcast(blocks.plan)
    with pytest.raises(NotPublishedError, match=r"entries has \d+ of \d+ files: .*\(step blocks\) again"):
        blocks.records(plan)
    plan.destroy()
