"""A preset drawn straight into the lake gives the tables that ingesting its release gives."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import lake
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.generate.preset import PRESETS
from recsys_spark.ingest import job


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[bool, Settings]:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return {
        csv: load_settings(
            [], [f"generate.csv={str(csv).lower()}"], {"dataset": "tiny", "workdir": f"{tmp_path}/{csv}"}
        )
        for csv in (True, False)
    }


def test_the_same_tables_and_metrics_without_a_release(spark: SparkSession, ways: dict[bool, Settings]) -> None:
    found = {csv: job.run(spark, settings, argparse.Namespace()) for csv, settings in ways.items()}
    assert found[True].metrics == found[False].metrics
    for table in ("ratings", "movies", "users", "rejected"):
        parsed, drawn = (lake.read_table(spark, found[csv].outputs["ingest"], table) for csv in (True, False))
        assert_df_equality(parsed, drawn, ignore_row_order=True, ignore_nullable=True)
    assert lake.exists(spark, step_root(ways[True], "raw"))
    assert not lake.exists(spark, step_root(ways[False], "raw"))


def test_it_is_drawn_once(spark: SparkSession, ways: dict[bool, Settings]) -> None:
    first = job.run(spark, ways[False], argparse.Namespace())
    assert job.run(spark, ways[False], argparse.Namespace()).outputs == first.outputs
    (version,) = [path.name for path in Path(step_root(ways[False], "ingest")).iterdir() if path.is_dir()]
    assert first.outputs["ingest"].endswith(version)
