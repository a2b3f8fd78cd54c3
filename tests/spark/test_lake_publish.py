"""Publishing: immutable versions, one pointer, and nothing that is half-written."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_spark import lake
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.lake import fs
from recsys_spark.lake.manifest import MANIFEST, POINTER


@pytest.fixture(params=["plain", "uri"])
def root(request, tmp_path):
    """A step's root with a space in its path, as a plain path and as a URI."""
    path = f"{tmp_path}/my lake/demo/ratings"
    return path if request.param == "plain" else f"file:{path}"


def folder(root: str) -> Path:
    return Path(root.removeprefix("file:"))


def names(root: str) -> set[str]:
    return set(os.listdir(folder(root))) if folder(root).exists() else set()


def numbers(spark, n=3):
    return spark.range(n).selectExpr("id AS user", "CAST(id AS float) AS rating")


def publish(spark, root, seed=0, write=None, **kwargs):
    def default(draft):
        draft.write_table(numbers(spark), "ratings")
        return {"seed": seed}

    settings = {"seed": seed}
    return lake.publish(
        spark, root, step="ratings", settings=settings, inputs={"raw": "f"}, write=write or default, **kwargs
    )


@pytest.mark.parametrize("remote", [False, True])
def test_a_small_table_comes_whole_with_spark_or_without(spark, root, monkeypatch, remote):
    path = publish(spark, root).path
    if remote:
        monkeypatch.setattr(fs.Location, "local", None)
    found = lake.collect_table(spark, path, "ratings")
    assert sorted(found.to_pylist(), key=str) == [{"user": n, "rating": float(n)} for n in range(3)]
    assert found.schema.types == [pa.int64(), pa.float32()]


def test_a_damaged_table_is_named(spark, root):
    path = publish(spark, root).path
    for file in folder(path).glob("ratings/*.parquet"):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"table 'ratings' of .* cannot be read .*: delete the version and run its"):
        lake.collect_table(spark, path, "ratings")


def test_what_is_published_is_current_and_readable(spark, root):
    published = publish(spark, root)
    assert published == lake.Published(f"{root}/{published.manifest.version}", published.manifest, reused=False)
    found = lake.current(spark, root, "ratings")
    assert (found.path, found.manifest) == (published.path, published.manifest)
    files = len(list((folder(root) / published.manifest.version / "ratings").glob("*.parquet")))
    assert found.manifest.tables == {
        "ratings": lake.TableInfo(rows=3, schema="user BIGINT NOT NULL,rating FLOAT NOT NULL", files=files)
    }
    assert (found.manifest.extra, found.manifest.inputs, found.manifest.settings) == (
        {"seed": 0},
        {"raw": "f"},
        {"seed": 0},
    )
    for place in (root, published.path, f"{root}/"):
        assert sorted(lake.read_table(spark, place, "ratings").collect()) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert names(root) == {POINTER, published.manifest.version}


def test_the_same_call_again_writes_nothing(spark, root):
    first = publish(spark, root)
    second = publish(spark, root, write=lambda draft: pytest.fail("written again"))
    assert second.reused
    assert (second.path, second.manifest) == (first.path, first.manifest)


def test_an_older_version_becomes_current_again_without_work(spark, root):
    first, second = publish(spark, root, seed=1), publish(spark, root, seed=2)
    assert lake.current(spark, root).path == second.path
    again = publish(spark, root, seed=1, write=lambda draft: pytest.fail("written again"))
    assert again.reused
    assert lake.current(spark, root).path == first.path


@pytest.mark.parametrize("change", ["settings", "inputs", "step"])
def test_any_other_settings_inputs_or_step_is_another_version(spark, tmp_path, change):
    call = {"step": "s", "settings": {"a": 1}, "inputs": {"x": "1"}}
    other = {**call, change: "t" if change == "step" else {"a": 2}}
    one, two = (lake.publish(spark, str(tmp_path), **c, write=lambda draft: None) for c in (call, other))
    assert one.manifest.version != two.manifest.version


def test_another_package_version_is_another_version(spark, root, monkeypatch):
    first = publish(spark, root)
    monkeypatch.setattr("recsys_spark.lake.versions.__version__", "99")
    second = publish(spark, root)
    assert not second.reused
    assert second.path != first.path
    assert second.manifest.package_version == "99"


class Killed(BaseException):
    """Stands for anything that ends the process, Ctrl-C included."""


@pytest.mark.parametrize("error", [ValueError("boom"), Killed("gone")])
def test_a_failed_write_leaves_the_root_as_it_was(spark, root, error):
    first = publish(spark, root)
    before = names(root)

    def fails(draft):
        draft.write_table(numbers(spark), "ratings")
        raise error

    with pytest.raises(type(error), match=r"boom|gone"):
        publish(spark, root, seed=1, write=fails)
    assert names(root) == before
    assert lake.current(spark, root).path == first.path


def test_a_failed_first_write_publishes_nothing(spark, root):
    def fails(draft):
        draft.write_text("half.txt", "half")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        publish(spark, root, write=fails)
    with pytest.raises(NotPublishedError, match="nothing is published"):
        lake.current(spark, root)
    assert publish(spark, root).reused is False


def test_extra_that_json_lacks_publishes_nothing(spark, root):
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish(spark, root, write=lambda draft: {"rmse": float("nan")})
    assert names(root) == set()


def test_killed_before_the_pointer_moved_the_work_is_found_again(spark, root, monkeypatch):
    first, write_text = publish(spark, root), fs.write_text

    def killed_at_the_pointer(session, uri, text):
        if uri.endswith(POINTER):
            raise Killed
        write_text(session, uri, text)

    monkeypatch.setattr(fs, "write_text", killed_at_the_pointer)
    with pytest.raises(Killed):
        publish(spark, root, seed=1)
    monkeypatch.undo()
    assert lake.current(spark, root).path == first.path
    second = publish(spark, root, seed=1, write=lambda draft: pytest.fail("written again"))
    assert lake.current(spark, root).path == second.path


@pytest.mark.parametrize("left", ["", '{"step": "rat'])
def test_a_version_without_a_whole_manifest_is_written_anew(spark, root, left):
    first = publish(spark, root)
    manifest = Path(first.path.removeprefix("file:")) / MANIFEST
    manifest.write_text(left)
    with pytest.raises(NotPublishedError, match=r"is missing or not whole; run jobs/ratings\.py first"):
        lake.current(spark, root, "ratings")
    again = publish(spark, root)
    assert again.reused is False
    assert lake.read_table(spark, root, "ratings").count() == 3


def test_the_faster_of_two_publishers_wins_and_the_other_uses_its_version(spark, root):
    def slow(draft):
        publish(spark, root)  # another process finishes the same version meanwhile
        draft.write_table(numbers(spark), "ratings")
        return {"seed": "slow"}

    published = publish(spark, root, write=slow)
    assert published.manifest.extra == {"seed": 0}
    assert names(root) == {POINTER, published.manifest.version}


def test_old_versions_expire_and_foreign_files_stay(spark, root):
    made = [publish(spark, root, seed=seed) for seed in range(3)]
    (folder(root) / "notes").mkdir()
    made += [publish(spark, root, seed=seed, keep=2) for seed in (3, 4)]
    assert names(root) == {POINTER, "notes", *(p.manifest.version for p in made[-3:])}
    publish(spark, root, seed=4, keep=0)
    assert names(root) == {POINTER, "notes", made[-1].manifest.version}


def test_drafts_of_dead_publishers_are_removed_after_a_week(spark, root):
    publish(spark, root)
    old, young = folder(root) / "._tmp-old", folder(root) / "._tmp-young"
    for draft in (old, young):
        draft.mkdir()
    os.utime(old, (1_000_000_000, 1_000_000_000))
    publish(spark, root)
    assert "._tmp-old" not in names(root)
    assert "._tmp-young" in names(root)


def test_partition_columns_keep_their_place_and_type(spark, root):
    df = spark.sql("SELECT '007' AS code, id AS item, CAST(id AS float) AS score FROM range(4)")
    publish(spark, root, write=lambda draft: draft.write_table(df, "top", ["code"]) and None)
    found = lake.read_table(spark, root, "top")
    assert found.dtypes == [("code", "string"), ("item", "bigint"), ("score", "float")]
    assert {row.code for row in found.collect()} == {"007"}
    assert lake.current(spark, root).manifest.tables["top"].rows == 4


def test_columns_with_odd_names_and_no_rows(spark, root):
    df = spark.createDataFrame([], "`a b` bigint, `c.d` array<struct<x: int>>, `e``f` decimal(5,2)")
    publish(spark, root, write=lambda draft: {"rows": draft.write_table(df, "empty").rows})
    found = lake.read_table(spark, root, "empty")
    assert found.columns == ["a b", "c.d", "e`f"]
    assert found.count() == lake.current(spark, root).manifest.extra["rows"] == 0


def test_rows_are_counted_without_running_the_input_again(spark, root):
    runs = spark.sparkContext.accumulator(0)

    def count(batches):
        for batch in batches:
            runs.add(batch.num_rows)
            yield batch

    df = spark.range(5).mapInArrow(count, "id bigint")
    publish(spark, root, write=lambda draft: {"rows": draft.write_table(df, "t").rows})
    assert lake.current(spark, root).manifest.extra["rows"] == runs.value == 5


def test_a_table_is_written_once(spark, root):
    def twice(draft):
        draft.write_table(numbers(spark), "t")
        draft.write_table(numbers(spark), "t")

    with pytest.raises(DataError, match="table 't' is written twice"):
        publish(spark, root, write=twice)


def test_a_draft_holds_text_beside_its_tables(spark, root):
    published = publish(spark, root, write=lambda draft: draft.write_text("report/é.txt", "zwölf\n"))
    assert lake.read_text(spark, published.table("report/é.txt")) == "zwölf\n"


def test_what_was_never_published_says_what_to_run(spark, root):
    with pytest.raises(NotPublishedError, match=r"nothing is published at .*my lake.*; run jobs/ratings\.py first"):
        lake.current(spark, root, "ratings")
    with pytest.raises(NotPublishedError, match="run the job that makes it first"):
        lake.read_table(spark, root, "ratings")


def test_a_pointer_to_a_version_that_is_gone_says_so(spark, root):
    published = publish(spark, root)
    lake.delete(spark, published.path)
    with pytest.raises(NotPublishedError, match=f"version {published.manifest.version} at .* is missing or not whole"):
        lake.current(spark, root)


def test_an_empty_pointer_is_none(spark, root):
    publish(spark, root)
    lake.write_text(spark, f"{root}/{POINTER}", "\n")
    with pytest.raises(NotPublishedError, match="nothing is published"):
        lake.current(spark, root)


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "..", "a\\b", "file:x", "two\nlines"])
def test_a_pointer_that_leads_elsewhere_is_refused(spark, root, name):
    publish(spark, root)
    lake.write_text(spark, f"{root}/{POINTER}", name)
    for read in (partial(lake.current, spark, root), partial(lake.read_table, spark, root, "numbers")):
        with pytest.raises(DataError, match=f"{POINTER} must hold the name of a directory beside it, found '"):
            read()


def test_the_output_of_another_step_is_refused(spark, root):
    publish(spark, root)
    with pytest.raises(DataError, match="holds the output of step 'ratings', expected that of 'split'"):
        lake.current(spark, root, "split")


def test_a_missing_table_lists_those_there_are(spark, root):
    publish(spark, root)
    with pytest.raises(NotPublishedError, match="no table 'movies' in .*; it has ratings"):
        lake.read_table(spark, root, "movies")


def test_a_table_that_has_lost_files_is_not_read(spark, root):
    published = publish(
        spark, root, write=lambda draft: draft.write_table(numbers(spark).repartition(3), "ratings") and None
    )
    lake.read_table(spark, root, "ratings")
    wanted = published.manifest.tables["ratings"].files
    table = folder(root) / published.manifest.version / "ratings"
    next(table.glob("*.parquet")).unlink()
    words = (
        rf"ratings has {wanted - 1} of {wanted} files: .* delete .* run the job that makes it \(step ratings\) again"
    )
    with pytest.raises(NotPublishedError, match=words):
        lake.read_table(spark, root, "ratings")
    shutil.rmtree(table)
    with pytest.raises(NotPublishedError, match=f"ratings has 0 of {wanted} files"):
        lake.read_table(spark, root, "ratings")


def test_fingerprint_of_files_is_that_of_their_content(spark, tmp_path):
    one, two = tmp_path / "a b" / "raw", tmp_path / "c" / "raw"
    for place in (one, two):
        (place / "deep").mkdir(parents=True)
        (place / "r.csv").write_bytes(b"1,2\r\n")
        (place / "deep" / "m.csv").write_bytes(b"x")
    os.utime(two / "r.csv", (1, 1))
    same = lake.fingerprint_files(spark, [str(one)])
    assert lake.fingerprint_files(spark, [f"file:{two}"]) == same
    (two / "r.csv").write_bytes(b"1,3\r\n")
    changed = lake.fingerprint_files(spark, [str(two)])
    (one / "r.csv").rename(one / "s.csv")
    renamed = lake.fingerprint_files(spark, [str(one)])
    assert len({same, changed, renamed}) == 3
    with pytest.raises(DataError, match="no input at .*nowhere"):
        lake.fingerprint_files(spark, [str(one), str(tmp_path / "nowhere")])
