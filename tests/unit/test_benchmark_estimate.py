"""What a fit would take elsewhere: which way each step goes, its bounds, and where the constants come from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from recsys_spark.benchmark import estimate
from recsys_spark.benchmark.estimate import (
    Cluster,
    Constants,
    Data,
    Stage,
    blocks_of,
    constants_of,
    routed_rows,
    stages,
)
from recsys_spark.blocks.build import MAX_VIEW
from recsys_spark.errors import ConfigError
from recsys_spark.ml.running import BROADCAST_LIMIT

SMALL = Data(users=200_000, items=90_000, ratings=30e6, rank=32)
HUGE = Data(users=1e9, items=1e7, ratings=1e11, rank=32)
LAPTOP = Cluster(executors=1, cores=2, network=1e9)
LARGE = Cluster(executors=250, cores=16, network=1.25e9)
CONSTANTS = Constants(rank=32, rating=2e-7, build=5e-7, ranged=2e-6, routed=2e-9, piece=6.0, product=1e-11)
ONE = {"executors": 1, "ratings": 1000, "users": 10, "items": 20, "build": 9.0, "shuffled": 9000}
TWO = {"executors": 2, "ratings": 2000, "users": 20, "items": 20, "build": 6.0, "shuffled": 12_000}
WEAK = [
    ONE | {"exchange_by": "broadcast", "compute": 9.0, "exchange": 9.0, "spark": 9.0, "moved": 9.0},
    TWO | {"exchange_by": "broadcast", "compute": 4.0, "exchange": 0.5, "spark": 0.5, "moved": 100.0},
    ONE | {"exchange_by": "shuffle", "compute": 9.0, "exchange": 9.0, "spark": 9.0, "moved": 9.0},
    TWO | {"exchange_by": "shuffle", "build": 8.0, "compute": 5.0, "exchange": 1.0, "spark": 2.0, "moved": 200.0},
]
OURS = {"top_n": {"median": 3.0}}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": "demo",
        "weak": WEAK,
        "rows": {"train": 2000},
        "terms": {"ours": "us", "cores": 2, "rank": 5},
        "contenders": {"us": {"figures": OURS}},
        **changes,
    }


def ways(data: Data, cluster: Cluster) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages(data, cluster, CONSTANTS)}


def test_small_data_is_broadcast_and_large_data_routed():
    small, huge = ways(SMALL, LAPTOP), ways(HUGE, LARGE)
    assert [s.way for s in small.values()] == [
        "ids on the driver",
        "broadcast",
        "broadcast",
        "direct",
        "Parquet",
        "products",
    ]
    assert [s.way for s in huge.values()] == [
        "ids on executors",
        "shuffle",
        "broadcast",  # of items, which are few enough
        "direct",
        "Parquet",
        "products",
    ]
    many_items = Data(users=1e9, items=1e9, ratings=1e11, rank=32)
    assert [s.way for s in ways(many_items, LARGE).values()][1:3] == ["shuffle", "shuffle"]
    wide = Data(users=1e9, items=1e7, ratings=1e11, rank=128, features=50)
    assert ways(wide, LARGE)["projections"].way == "gradients"


def test_blocks_are_as_many_as_cores_files_and_views_ask_for():
    assert blocks_of(SMALL, LAPTOP) == (2, 2)
    files = Data(users=1e6, items=1e5, ratings=1e10, rank=8)
    assert blocks_of(files, LAPTOP) == (-(-12 * 10**10 // (512 << 20)),) * 2
    three = Data(users=1e6, items=1e5, ratings=2.5 * (512 << 20) / 12, rank=8)
    assert blocks_of(three, LAPTOP) == (4, 4)  # not a round in which one core has nothing to do
    views = math.ceil(HUGE.ratings * HUGE.row / MAX_VIEW)
    assert blocks_of(HUGE, LARGE) == (LARGE.tasks, views)
    for stage in ways(HUGE, LARGE).values():
        most = BROADCAST_LIMIT if stage.way == "broadcast" else MAX_VIEW
        assert stage.memory <= 2 * most, stage.name
    fewer_items = Data(users=1e9, items=1e6, ratings=1e11, rank=32)
    assert blocks_of(fewer_items, LARGE) == (LARGE.tasks, views)


def test_a_row_goes_once_to_each_block_that_refers_to_it_and_no_more_often_than_it_is_rated():
    assert routed_rows(10, 1000, 4) == 40
    assert routed_rows(10, 30, 4) == 30


def test_seconds_are_arithmetic_over_cores_or_bytes_over_the_network():
    fast = Cluster(executors=250, cores=16, network=1e15)
    slow = Cluster(executors=250, cores=16, network=1e6)
    items = "items' half-sweep"
    moved = ways(HUGE, fast)[items].sent
    assert moved == 1e11 * 4 * 33
    assert ways(HUGE, fast)[items].seconds == pytest.approx((1e11 * 1e-7 + moved * 2e-9) / 4000)
    assert ways(HUGE, slow)[items].seconds == pytest.approx(moved / (250 * 1e6))
    assert ways(HUGE, fast)["blocks"].seconds == pytest.approx(1e11 * 2e-6 / 4000)
    assert ways(SMALL, LAPTOP)["blocks"].seconds == pytest.approx(30e6 * 5e-7 / 2)
    assert CONSTANTS.rating_at(64) == pytest.approx(2e-7 * 64 * 65 / (32 * 33))


def test_constants_come_from_records():
    found = constants_of([record()])
    assert found == Constants(
        rank=5,
        rating=4.0 * 2 / 2000,
        build=6.0 * 2 / 2000,
        ranged=8.0 * 2 / 2000,
        routed=2.0 * 2 / 200,
        piece=6.0,
        product=3.0 * 2 / (20 * 20 * 5),
    )
    assert constants_of([record(weak=[]), record(contenders={})]) == found
    with pytest.raises(ConfigError, match="no record has a section weak nor compare: measure with --compare --weak"):
        constants_of([record(weak=[], contenders={})])
    with pytest.raises(ConfigError, match="no record has a section weak:"):
        constants_of([record(weak=WEAK[:3])])
    with pytest.raises(ConfigError, match="of several data sets: demo, other"):
        constants_of([record(), record(dataset="other")])


def test_the_command_prints_the_table_or_writes_it_into_a_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "record.json").write_text(json.dumps(record()), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- estimate:begin -->\n<!-- estimate:end -->\nb\n", encoding="utf-8")
    asked = [
        str(tmp_path / "record.json"),
        "--users=1e9",
        "--items=1e7",
        "--ratings=1e11",
        "--executors=250",
        "--cores=16",
    ]
    assert estimate.main(asked) == 0
    told = capsys.readouterr().out
    assert "1,000,000,000 users × 10,000,000 items, 100,000,000,000 ratings, rank 32" in told
    assert "| users' half-sweep | broadcast |" in told
    assert estimate.main([*asked, "--write", str(page)]) == 0
    assert told in page.read_text(encoding="utf-8")
