"""A published release: the bits of the plain NumPy draw for every partitioning, and readable as MovieLens is."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from generated import TINY, ratings, world
from leaks import persisted
from recsys_spark import lake
from recsys_spark.cli import run_job
from recsys_spark.config import load_settings
from recsys_spark.errors import ConfigError
from recsys_spark.generate import oracle, release
from recsys_spark.generate.job import preset_name, run
from recsys_spark.generate.preset import PRESETS
from recsys_spark.generate.ratings import held_out
from recsys_spark.generate.release import generate

JOB = Path(__file__).resolve().parents[2] / "jobs" / "generate.py"


@pytest.fixture(scope="module")
def tiny(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> lake.Published:
    return generate(spark, TINY, 42, str(tmp_path_factory.mktemp("tiny") / "raw"))


def content(published: lake.Published, name: str) -> str:
    return (Path(published.path) / name).read_bytes().decode("utf-8")


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_ratings_are_those_of_the_plain_draw(tiny: lake.Published) -> None:
    w, r = world("tiny"), ratings("tiny")
    expected = sorted(
        (int(w.people.ids[u]), int(w.films.ids[i]), str(code / 2), str(t))
        for u, i, code, t in zip(r.user, r.item, r.code.tolist(), r.time.tolist(), strict=True)
    )
    lines = [",".join(map(str, row)) for row in expected]
    assert content(tiny, "ratings.csv") == "\r\n".join(["userId,movieId,rating,timestamp", *lines, ""])


@pytest.mark.parametrize(("chunk", "tasks"), [(10**6, 1), (430, 4)], ids=["1", "7"])
def test_same_files_for_any_number_of_partitions(
    spark: SparkSession,
    tiny: lake.Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    tasks: int,
) -> None:
    monkeypatch.setattr(release, "_TASKS_PER_CORE", tasks)
    again = generate(spark, replace(TINY, chunk_ratings=chunk), 42, str(tmp_path))
    for name in ("ratings.csv", "tags.csv", "movies.csv", "users.csv"):
        assert content(again, name) == content(tiny, name), name
    if chunk == TINY.chunk_ratings:
        assert again.manifest.extra == tiny.manifest.extra
    else:  # sums over other chunks: the same numbers but for the order of addition
        assert again.manifest.extra["oracle_rmse"] == pytest.approx(tiny.manifest.extra["oracle_rmse"], rel=1e-12)


def test_measures_do_not_depend_on_where_chunks_lie(spark: SparkSession, tiny: lake.Published) -> None:
    broadcast = spark.sparkContext.broadcast(world("tiny"))
    packed = release.packed_ratings(spark, world("tiny"), broadcast)
    for frame in (packed.coalesce(1), packed.repartition(7)):
        assert release.measure(frame, world("tiny"), broadcast) == tiny.manifest.extra
    broadcast.destroy()


def test_manifest_holds_oracles_and_facts(tiny: lake.Published) -> None:
    w, r, extra = world("tiny"), ratings("tiny"), tiny.manifest.extra
    n = held_out(w, r.user, r.item).sum()
    floor, user, item = (
        errors(w, r.user, r.item, r.code) / n
        for errors in (oracle.floor_errors, oracle.user_errors, oracle.item_errors)
    )
    assert extra["floor_rmse"] == pytest.approx(math.sqrt(floor))
    assert extra["user_oracle"] == pytest.approx(math.sqrt(user))
    assert extra["item_oracle"] == pytest.approx(math.sqrt(item))
    assert extra["oracle_rmse"] == pytest.approx(math.sqrt(user + item - floor))
    count = np.bincount(r.item)
    facts = {
        "ratings": 3_000,
        "users": 60,
        "cold_users": 3,
        "films": 240,
        "rated_films": 220,
        "rarely_rated_films": int((count <= 2).sum()),
        "top_film": int(count.max()),
        "top_user": 120,
        "first_timestamp": int(r.time.min()),
        "last_timestamp": int(r.time.max()),
    }
    assert {name: extra[name] for name in facts} == facts
    assert extra["rating_mean"] == pytest.approx((r.code / 2).mean())
    assert extra["rating_std"] == pytest.approx((r.code / 2).std())
    assert extra["histogram"] == {str(c / 2): float((r.code == c).mean()) for c in range(1, 11)}


def test_files_are_rfc_4180_and_nothing_else_is_left(tiny: lake.Published) -> None:
    names = ["README.txt", "_manifest.json", "movies.csv", "ratings.csv", "tags.csv", "users.csv"]
    assert sorted(path.name for path in Path(tiny.path).iterdir()) == names
    headers = {
        "ratings.csv": ["userId", "movieId", "rating", "timestamp"],
        "movies.csv": ["movieId", "title", "genres"],
        "tags.csv": ["userId", "movieId", "tag", "timestamp"],
        "users.csv": ["userId", "group"],
    }
    for name, header in headers.items():
        text = content(tiny, name)
        parsed = rows(text)
        assert parsed[0] == header
        assert {len(row) for row in parsed} == {len(header)}
        assert text.count("\n") == text.count("\r\n") == len(parsed)
    assert f"{tiny.manifest.extra['oracle_rmse']:.4f}   both learned" in content(tiny, "README.txt")


def test_spark_reads_what_was_written(spark: SparkSession, tiny: lake.Published) -> None:
    options = {"header": True, "inferSchema": True, "quote": '"', "escape": '"'}
    frame = spark.read.options(**options).csv(f"{tiny.path}/ratings.csv")
    assert frame.dtypes == [("userId", "int"), ("movieId", "int"), ("rating", "double"), ("timestamp", "int")]
    assert frame.count() == 3_000
    titles = {row["title"] for row in spark.read.options(**options).csv(f"{tiny.path}/movies.csv").collect()}
    assert titles >= {row[1] for row in rows(content(tiny, "movies.csv"))[1:] if '"' in row[1]}


def test_parts_hold_the_same_ratings_with_a_header_each(
    spark: SparkSession, tiny: lake.Published, tmp_path: Path
) -> None:
    parted = generate(spark, replace(TINY, parts=True), 42, str(tmp_path))
    for name in ("ratings.csv", "tags.csv"):
        parts = sorted((Path(parted.path) / name).glob("part-*.csv"))
        assert len(parts) > 1
        bodies = [rows(part.read_bytes().decode("utf-8")) for part in parts]
        whole = rows(content(tiny, name))
        assert all(body[0] == whole[0] for body in bodies if body)
        assert [row for body in bodies for row in body[1:]] == whole[1:]
    assert "directories" in content(parted, "README.txt")


def test_other_seed_other_release_same_call_nothing_to_do(
    spark: SparkSession, tiny: lake.Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(Path(tiny.path).parent)
    assert not tiny.reused
    before = persisted(spark)
    other = generate(spark, TINY, 43, root)
    assert content(other, "ratings.csv") != content(tiny, "ratings.csv")
    assert persisted(spark) <= before
    monkeypatch.setattr(release, "_write", None)
    assert generate(spark, TINY, 42, root).reused


def test_job_ends_with_its_figures(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    argv = ["--dataset", "tiny", "--workdir", str(tmp_path), "--set", "generate.seed=7"]
    assert run_job("generate", run, description="", argv=argv) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["status"] == "ok"
    assert (line["metrics"]["ratings"], line["metrics"]["users"], line["metrics"]["films"]) == (3_000, 60, 240)
    assert 0.5 < line["metrics"]["floor_rmse"] < line["metrics"]["oracle_rmse"] < 1.2
    assert line["outputs"]["path"] == lake.current(spark, f"{tmp_path}/tiny/raw", "generate").path


def test_the_preset_is_the_data_set_or_what_generate_asks_for() -> None:
    assert preset_name(load_settings()) == "demo"
    assert preset_name(load_settings(options={"dataset": "1m"})) == "1m"
    assert preset_name(load_settings(overrides=["generate.preset=1m"], options={"dataset": "mine"})) == "1m"
    with pytest.raises(ConfigError, match=r"dataset is 'demo' and generate.preset '1m': say --dataset 1m"):
        preset_name(load_settings(overrides=["generate.preset=1m"]))


def test_help() -> None:
    environment = os.environ | {"PYTHONPATH": str(JOB.parents[1])}
    done = subprocess.run([sys.executable, str(JOB), "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "MovieLens format" in done.stdout
