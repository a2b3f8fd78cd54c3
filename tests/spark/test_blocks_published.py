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
from recsys_spark.blocks.published import PublishedBlocks, write_blocks
from recsys_spark.errors import NotPublishedError


@pytest.fixture(scope="module")
def expected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[lake.Published, list[bytes]]:
    """A published version in a directory whose name needs quoting, and its records; some blocks have no rows."""
    p = problem()
    plan = p.plan(2, 20)
    blocks = build_blocks(plan, p.ratings.to_batches(), {USERS: p.user_features, ITEMS: p.item_features})
    records = [(slot, block.to_bytes()) for slot, block in enumerate(blocks)]

    def write(draft: lake.Draft) -> dict:
        made = write_blocks(spark, draft, spark.sparkContext.parallelize(records, 3), plan, p.columns)
        return made | {"metrics": {"train_ratings": 1}}

    root = Path(tmp_path_factory.mktemp("blocks")) / "a b%20ü"
    return lake.publish(spark, str(root), step="blocks", settings={}, inputs={}, write=write), [r for _, r in records]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("local", [True, False])
def test_the_records_come_back(
    spark: SparkSession,
    expected: tuple[lake.Published, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    local: bool,
    paired: bool,
) -> None:
    """Paired, for rows that are routed: localised, and where the fit looks for them."""
    where, records = expected
    blocks = PublishedBlocks(spark, where)
    assert module.local_paths([f"file://{where.path}"]) is not None
    if not local:
        monkeypatch.setattr(module, "local_paths", lambda uris: None)
    plan = spark.sparkContext.broadcast(replace(blocks.plan, paired=paired))
    by_partition = blocks.records(plan).glom().collect()
    layout = plan.value.layout
    plan.destroy()
    assert len(by_partition) == layout.partitions
    found = {slot: (number, data) for number, part in enumerate(by_partition) for slot, data in part}
    for slot, whole in enumerate(records):
        number, data = found[slot]
        assert number == layout.partition(slot)
        assert data == (Block.from_buffer(whole).localised().to_bytes() if paired else whole)


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
