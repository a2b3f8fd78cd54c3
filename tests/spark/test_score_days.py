"""Days of recommendations: the second scored from the first, crashes between, replacements while someone reads."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsys_spark import lake, score
from recsys_spark.errors import DataError, NotPublishedError, RefusedError
from recsys_spark.score.days import day_root, days, expire, score_path
from recsys_spark.score.job import run
from tests.conftest import ROOT
from tests.score_lake import FRIDAY, NEW, OLD, SATURDAY, SUNDAY, ingest, ratings_frame, settings_for, train

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NOBODY = argparse.Namespace()


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a trained model, the old ratings, and Friday's recommendations."""
    folder = tmp_path_factory.mktemp("days")
    settings = settings_for(folder, FRIDAY)
    train(spark, settings, folder)
    ingest(spark, settings, OLD)
    run(spark, settings, NOBODY)
    ingest(spark, settings, OLD + NEW)
    return folder


def manifest(spark: SparkSession, folder: Path, day) -> dict:  # type: ignore[no-untyped-def]
    return dict(lake.current(spark, day_root(score_path(settings_for(folder, day)), day), "score").manifest.extra)


def rows(df: DataFrame) -> set[tuple]:
    return {tuple(row) for row in df.collect()}


def published(folder: Path, day) -> DataFrame:  # type: ignore[no-untyped-def]
    return score.read(score_path(settings_for(folder, day)), day)


def test_the_manifest_says_how_the_day_was_made(spark: SparkSession, folder: Path) -> None:
    extra = manifest(spark, folder, FRIDAY)
    assert extra["counts"] == {
        "rows": 4 * 14, "scored": 14, "folded_in": 2, "fallback": 1, "carried_over": 0,
    }  # fmt: skip
    assert (extra["ratings"]["rows"], extra["ratings"]["until"]) == (5, "2026-11-19T05:00:00+00:00")
    assert "/train/" in extra["model"]["uri"]
    measures = extra["gates"]["measures"]
    assert (measures["users"], measures["served"], measures["broken"], measures["overlap"]) == (14, 14, 0, None)
    assert extra["gates"]["failed"] == []


KILLED = """
import argparse, os, signal, sys
from datetime import date
from pathlib import Path
from pyspark.sql import SparkSession
from recsys_spark.lake import fs
from recsys_spark.score.job import run
from tests.score_lake import settings_for
commit = fs.commit_dir
def killed(spark, source, target, last):
    os.kill(os.getpid(), signal.SIGKILL)
fs.commit_dir = killed
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
run(spark, settings_for(Path(sys.argv[1]), date.fromisoformat(sys.argv[2]), since="last"), argparse.Namespace())
"""


def test_a_crash_then_the_second_day_from_the_first(spark: SparkSession, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), SATURDAY.isoformat()],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    path = score_path(settings_for(folder, SATURDAY))
    left = [name for name, *_ in lake.list_dir(spark, path)]
    assert len([name for name in left if name.startswith("._tmp-")]) == 1, "killed with all rows written"
    assert days(spark, path) == [FRIDAY]
    assert score.read(path).count() == 4 * 14
    with pytest.raises(
        NotPublishedError, match=r"no recommendations of 2026-11-21 at .*; the latest days are 2026-11-20"
    ):
        score.read(path, "2026-11-21")

    result = run(spark, settings_for(folder, SATURDAY, since="last"), NOBODY)
    counts = manifest(spark, folder, SATURDAY)["counts"]
    assert counts == {"rows": 4 * 15, "scored": 3, "folded_in": 2, "fallback": 0, "carried_over": 12}
    assert "3 scored (2 folded in, 0 by the fallback), 12 carried over" in result.summary
    incremental = rows(published(folder, SATURDAY))
    assert {row[4] for row in incremental} == {SATURDAY}
    assert {row[0] for row in incremental} >= {5, 6, 9, 100, 103, 133}

    again = run(spark, settings_for(folder, SATURDAY), NOBODY)
    assert again.metrics["scored"] == 15
    assert again.outputs != result.outputs
    assert rows(published(folder, SATURDAY)) == incremental, "scoring everybody gives the same rows"
    assert rows(published(folder, FRIDAY)) != incremental
    assert days(spark, path) == [FRIDAY, SATURDAY]


def test_who_reads_while_a_day_is_replaced_sees_whole_days(spark: SparkSession, folder: Path) -> None:
    run(spark, settings_for(folder, SUNDAY), NOBODY)
    path, seen, wrong = score_path(settings_for(folder, SUNDAY)), [], []
    opened = score.read(path, SUNDAY)
    before, done = rows(opened), threading.Event()

    def reader() -> None:
        last = False
        while not last:
            last = done.is_set()  # one more look after the end
            try:
                per_user = score.read(path, SUNDAY, spark=spark).groupBy("user").count().collect()
                seen.append((len(per_user), frozenset(row["count"] for row in per_user)))
            except Exception as problem:
                wrong.append(problem)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for n in (5, 6):
            run(spark, settings_for(folder, SUNDAY, n=n), NOBODY)
    finally:
        done.set()
        thread.join()
    assert wrong == []
    assert set(seen) <= {(15, frozenset({n})) for n in (4, 5, 6)}
    assert seen[-1] == (15, frozenset({6}))
    assert [sorted(state[1])[0] for state in seen] == sorted(sorted(state[1])[0] for state in seen), "never back"
    assert rows(opened) == before, "what was opened can be read to its end"


def test_all_days_as_a_view(spark: SparkSession, folder: Path) -> None:
    path = score_path(settings_for(folder, FRIDAY))
    score.create_view("recommended", path)
    found = spark.sql("SELECT user, rank, item, score, run_date FROM recommended WHERE run_date = DATE'2026-11-20'")
    assert rows(found) == rows(published(folder, FRIDAY))
    assert spark.table("recommended").select("run_date").distinct().count() == len(days(spark, path))
    with pytest.raises(NotPublishedError, match=r"no recommendations at .*nowhere; run jobs/score\.py first"):
        score.create_view("nothing", f"file:{folder}/nowhere")
    with pytest.raises(NotPublishedError, match=r"no recommendations at .*nowhere; run jobs/score\.py first"):
        score.read(f"file:{folder}/nowhere")
    with pytest.raises(AttributeError, match="has no attribute 'reed'"):
        _ = score.reed


def test_whatever_happens_to_ratings_a_day_of_changes_is_the_day_of_everybody(spark: SparkSession, small: Path) -> None:
    late, anew, gone = (100, 65, 5.0, 0), (103, 9, 4.5, 30), {6, 5}
    changed = [row for row in OLD if row[0] not in gone and row[:2] != anew[:2]]
    ingest(spark, settings_for(small, SATURDAY), [*changed, late, anew])
    found = run(spark, settings_for(small, SATURDAY, since="last"), NOBODY)
    assert (found.metrics["scored"], found.metrics["carried_over"]) == (2, 10)
    incremental = rows(published(small, SATURDAY))
    assert not {row[0] for row in incremental} & gone
    everybody = run(spark, settings_for(small, SATURDAY), NOBODY)
    assert everybody.metrics["scored"] == 12
    assert rows(published(small, SATURDAY)) == incremental
    since = run(spark, settings_for(small, SUNDAY, since="2026-11-19T03:00"), NOBODY)
    assert since.metrics["scored"] == 1, "nothing has changed, but 103 has rated since"
    assert {row[:4] for row in rows(published(small, SUNDAY))} == {row[:4] for row in incremental}


@pytest.fixture
def small(spark: SparkSession, tmp_path: Path) -> Path:
    """Friday again, for what must not disturb the others."""
    settings = settings_for(tmp_path, FRIDAY)
    train(spark, settings, tmp_path)
    ingest(spark, settings, OLD)
    run(spark, settings, NOBODY)
    return tmp_path


def test_everybody_is_scored_where_carrying_over_would_be_another_day(spark: SparkSession, small: Path) -> None:
    def why(**score_: object) -> str:
        result = run(spark, settings_for(small, SATURDAY, since="last", **score_), NOBODY)
        assert result.metrics["carried_over"] == 0
        return str(manifest(spark, small, SATURDAY)["everybody_because"])

    assert why(n=3) == "the day before (2026-11-20) cannot be carried over: the settings of scoring are others"
    assert why(candidates={"block": [7]}).endswith("other items may be recommended")
    train(spark, settings_for(small, SATURDAY), small, seed=1)
    assert why(gates={"min_overlap": 0}).endswith("the model is another one")


def test_a_gate_stops_a_day_unless_it_is_to_be_published_anyway(spark: SparkSession, small: Path) -> None:
    train(spark, settings_for(small, SATURDAY), small, seed=1)
    strict = {"min_overlap": 0.9}
    words = r"of 2026-11-21 are not published: \d+\.\d% of the recommendations were there the day before, .*-anyway"
    with pytest.raises(RefusedError, match=words):
        run(spark, settings_for(small, SATURDAY, gates=strict), NOBODY)
    path = score_path(settings_for(small, SATURDAY))
    assert [name for name, *_ in lake.list_dir(spark, path)] == ["run_date=2026-11-20"]
    result = run(spark, settings_for(small, SATURDAY, gates={**strict, "publish_anyway": True}), NOBODY)
    account = manifest(spark, small, SATURDAY)["gates"]
    assert account["published_anyway"]
    assert 0 < account["measures"]["overlap"] == result.metrics["overlap"] < 0.9
    assert "PUBLISHED IN SPITE OF " in result.summary


def test_old_days_expire(spark: SparkSession, small: Path) -> None:
    for day in (SATURDAY, SUNDAY):
        run(spark, settings_for(small, day, keep_days=2), NOBODY)
    path = score_path(settings_for(small, SUNDAY))
    assert days(spark, path) == [SATURDAY, SUNDAY]
    assert [name for name, *_ in lake.list_dir(spark, path)] == [f"run_date={SATURDAY}", f"run_date={SUNDAY}"]
    assert expire(spark, path, None) == []


def test_filters_choose_what_is_recommended(spark: SparkSession, small: Path) -> None:
    def items(**candidates: object) -> set[int]:
        chosen = settings_for(
            small, SATURDAY, n=30, exclude_seen=False, candidates=candidates, gates={"min_overlap": 0}
        )
        return {
            row["item"] for row in spark.read.parquet(run(spark, chosen, NOBODY).outputs["recommendations"]).collect()
        }

    every = list(range(7, 67, 2))  # the film of 2000 is 7, of 2001 9, …; 65 has no year and no genre
    assert items(released_by="2003-06-01", block=[9]) == {7, 11, 13, 65}
    assert items(genres=["War"]) == set(every[2:29:3])
    assert items(not_genres=["War", "Comedy"]) == {*every[0:29:3], 65}
    table = f"file:{small}/allowed"
    ratings_frame(spark, [(1, 7, 1.0, 1), (1, 9, 1.0, 1), (1, 999, 1.0, 1)]).write.parquet(table)
    assert items(allow=table, released_by="run_date") == {7, 9}
    for candidates, words in (
        ({"genres": ["Horror"]}, r"genres that no film has: \['Horror'\]; there are \['Comedy', 'Drama', 'War'\]"),
        ({"allow": [999]}, r"no item of the model's 30 passes the candidate filters \{'allow': \[999\]\}: loosen"),
        ({"allow": f"file:{small}/tiny"}, r"has no column 'item', but a"),
    ):
        spark.range(1).toDF("a").write.mode("overwrite").parquet(f"file:{small}/tiny")
        with pytest.raises(DataError, match=words):
            items(**candidates)
