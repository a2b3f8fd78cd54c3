"""What `--dataset` means, through the whole step: folders, zips, releases by name; done once, published whole."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from recsys_spark import lake
from recsys_spark.config import step_root
from recsys_spark.errors import DataError
from recsys_spark.ingest import download
from recsys_spark.ingest.job import run
from recsys_spark.ingest.releases import Release
from recsys_spark.ingest.source import resolve
from tests.ingest_factory import ingest_settings, rating_lines, write_csv

ARGS = argparse.Namespace()


def test_a_zip_is_unpacked_once_and_ingested_once(spark: SparkSession, tmp_path: Path) -> None:
    write_csv(tmp_path / "ml-x", rating_lines(200))
    (tmp_path / "ml-x" / "users.csv").write_text("userId,group\n1,a\n2,b\n")
    archive = shutil.make_archive(str(tmp_path / "ml-x"), "zip", tmp_path, "ml-x")
    settings = ingest_settings(tmp_path, archive)
    first = run(spark, settings, ARGS)
    second = run(spark, settings, ARGS)
    assert first == second
    published = lake.current(spark, step_root(settings, "ingest"), "ingest")
    assert published.path.startswith(f"{tmp_path}/lake/ml-x/ingest/")
    assert {name: info.rows for name, info in published.manifest.tables.items()} == {
        "ratings": 200, "movies": 60, "users": 2, "rejected": 0,
    }  # fmt: skip
    assert published.manifest.tables["ratings"].schema.replace("`", "").lower() == (
        "user bigint,item bigint,rating float,timestamp timestamp"
    )
    extra = published.manifest.extra
    assert extra["scale"] == {"low": 0.5, "high": 5.0, "step": 0.5}
    assert (extra["release"], extra["layout"]) == ("ml-x", "csv")
    assert "Harper" in extra["citation"]
    assert extra["accounts"]["ratings"] == {"kind": "ratings", "read": 200, "rejected": 0, "duplicates": 0, "kept": 200}
    assert first.metrics["rating_mean"] == pytest.approx(2.75)
    raw = lake.current(spark, step_root(settings, "raw"), "unpack")
    assert raw.manifest.extra["tables"] == ["movies.csv", "ratings.csv", "users.csv"]


def test_other_content_or_settings_make_a_new_version(spark: SparkSession, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data", rating_lines(60))
    first = run(spark, ingest_settings(tmp_path, data), ARGS).outputs["ingest"]
    write_csv(data, [*rating_lines(60), "1,50,4.0,5"])
    second = run(spark, ingest_settings(tmp_path, data), ARGS)
    assert second.outputs["ingest"] != first
    assert second.metrics["ratings"] == 61
    third = run(spark, ingest_settings(tmp_path, data, "ingest.scale=[0.5, 5]"), ARGS).outputs["ingest"]
    assert third not in (first, second.outputs["ingest"])


def test_a_release_by_name_comes_from_the_cache_and_says_whether_it_was_verified(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "ml-1m", rating_lines(10))
    archive = Path(shutil.make_archive(str(tmp_path / "cache" / "ml-1m"), "zip", tmp_path, "ml-1m"))
    known = Release("ml-1m", download.md5_of(archive))
    monkeypatch.setattr("recsys_spark.ingest.source.RELEASES", {"ml-1m": known})
    settings = ingest_settings(tmp_path, "ml-1m", f"ingest.cache={tmp_path / 'cache'}")
    source = resolve(spark, settings, "http://127.0.0.1:9")
    assert source.folder.startswith(f"{tmp_path}/lake/ml-1m/raw/")
    assert source.origin == f"http://127.0.0.1:9/ml-1m.zip (md5 {known.md5})"
    archive.unlink()
    with pytest.raises(DataError, match=r"cannot download http://127.0.0.1:9/ml-1m.zip"):
        resolve(spark, settings, "http://127.0.0.1:9")


def test_an_unknown_data_set_names_the_nearest(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no data set 'ml-23m'.*preset \(demo, 1m.*\) and no release \(ml-.*did you mean ml-"
    ):
        resolve(spark, ingest_settings(tmp_path, "ml-23m"))


@pytest.mark.parametrize("body", [[], ["1,1,9,5"]])
def test_a_release_without_a_good_rating_is_refused(spark: SparkSession, tmp_path: Path, body: list[str]) -> None:
    data = write_csv(tmp_path / "data", body)
    message = "ratings.csv has no rows: expected ratings" if not body else "1 of 1 lines .* are no ratings .100.0%"
    with pytest.raises(DataError, match=message):
        run(spark, ingest_settings(tmp_path, data, "ingest.max_rejected_share=1"), ARGS)


def test_a_release_without_movies_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data", rating_lines(10), [])
    with pytest.raises(DataError, match=r"movies.csv has no rows: expected movies"):
        run(spark, ingest_settings(tmp_path, data), ARGS)
