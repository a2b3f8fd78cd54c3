"""File operations on the local file system, and through Hadoop alone (viewfs over a local folder) as on any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_spark import lake
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.lake import fs
from recsys_spark.lake.manifest import POINTER


@pytest.fixture(params=["local", "remote", "objects"])
def base(request, spark, tmp_path, monkeypatch):
    """A place on each kind of file system; `tmp_path / "here"` is where it really lies."""
    (tmp_path / "here").mkdir()
    if request.param == "local":
        return str(tmp_path / "here")
    name = f"{request.param}{abs(hash(str(tmp_path)))}"
    spark.conf.set(f"fs.viewfs.mounttable.{name}.link./x", f"file:{tmp_path / 'here'}")
    if request.param == "objects":
        monkeypatch.setattr(fs, "OBJECT_STORES", frozenset({"viewfs"}))
    return f"viewfs://{name}/x"


def test_text_is_written_replaced_and_read(spark, base, tmp_path):
    path = f"{base}/deep er/é.txt"
    assert not lake.exists(spark, path)
    for text in ("one\r\n", "zwölf\n" * 1000, ""):
        lake.write_text(spark, path, text)
        assert lake.read_text(spark, path) == text
    assert [name for name, *_ in lake.list_dir(spark, f"{base}/deep er")] == ["é.txt"]
    left = [p.name for p in (tmp_path / "here/deep er").iterdir()]
    assert sorted(name for name in left if not name.endswith(".crc")) == ["é.txt"], left


def test_reading_what_is_missing(spark, base):
    with pytest.raises(NotPublishedError, match="no file at .*nowhere"):
        lake.read_text(spark, f"{base}/nowhere")
    assert lake.list_dir(spark, f"{base}/nowhere") == []
    assert lake.delete(spark, f"{base}/nowhere") is False


def test_directories_are_listed_and_deleted(spark, base):
    lake.write_text(spark, f"{base}/d/b.txt", "12345")
    lake.write_text(spark, f"{base}/d/a/c.txt", "1")
    (a, is_dir, _, _), (b, is_file, size, modified) = lake.list_dir(spark, f"{base}/d")
    assert (a, is_dir, b, is_file, size) == ("a", True, "b.txt", False, 5)
    assert modified > 1_600_000_000_000
    assert lake.delete(spark, f"{base}/d") is True
    assert not lake.exists(spark, f"{base}/d")


def test_a_directory_is_committed_once(spark, base):
    for name in ("first", "second"):
        lake.write_text(spark, f"{base}/{name}/t/part", name)
        lake.write_text(spark, f"{base}/{name}/last", name)
    assert fs.commit_dir(spark, f"{base}/first", f"{base}/taken", last="last") is True
    assert fs.commit_dir(spark, f"{base}/second", f"{base}/taken", last="last") is False
    assert lake.read_text(spark, f"{base}/taken/t/part") == lake.read_text(spark, f"{base}/taken/last") == "first"
    assert lake.exists(spark, f"{base}/second/last")
    assert not lake.exists(spark, f"{base}/first")
    assert [name for name, *_ in lake.list_dir(spark, f"{base}/taken")] == ["last", "t"]


def test_a_directory_that_is_missing_cannot_be_committed(spark, base):
    with pytest.raises(DataError, match="nothing to commit at .*missing"):
        fs.commit_dir(spark, f"{base}/missing", f"{base}/target", last="last")


def test_an_object_store_moves_the_last_file_last(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(fs, "OBJECT_STORES", frozenset({"viewfs"}))
    spark.conf.set("fs.viewfs.mounttable.order.link./x", f"file:{tmp_path}")
    for name in ("_manifest", "a", "z"):
        lake.write_text(spark, f"viewfs://order/x/d/{name}", name)
    moved, rename = [], fs._rename
    monkeypatch.setattr(
        fs, "_rename", lambda s, src, dst, **k: (moved.append(src.path.getName()), rename(s, src, dst, **k))
    )
    fs.commit_dir(spark, "viewfs://order/x/d", "viewfs://order/x/e", last="_manifest")
    assert moved == ["a", "z", "_manifest"]


def test_trees_are_copied_there_and_back(spark, base, tmp_path):
    source = tmp_path / "my source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "b.bin").write_bytes(bytes(range(256)))
    (source / "a.txt").write_text("a")
    lake.copy_from_local(spark, source, f"{base}/copies/one")
    lake.copy_to_local(spark, f"{base}/copies/one", tmp_path / "new folder" / "back")
    back = tmp_path / "new folder" / "back"
    assert sorted(p.relative_to(back).as_posix() for p in back.rglob("*")) == ["a.txt", "deep", "deep/b.bin"]
    assert (back / "deep/b.bin").read_bytes() == bytes(range(256))
    lake.copy_from_local(spark, source / "a.txt", f"{base}/copies/a.txt")
    lake.copy_to_local(spark, f"{base}/copies/a.txt", tmp_path / "a copy.txt")
    assert (tmp_path / "a copy.txt").read_text() == "a"


def test_copies_refuse_what_exists_and_what_does_not(spark, base, tmp_path):
    (tmp_path / "file").write_text("x")
    lake.write_text(spark, f"{base}/taken", "x")
    with pytest.raises(DataError, match="cannot copy .* to .*taken: it exists"):
        lake.copy_from_local(spark, tmp_path / "file", f"{base}/taken")
    with pytest.raises(DataError, match="nothing to copy at .*nowhere"):
        lake.copy_from_local(spark, tmp_path / "nowhere", f"{base}/new")
    with pytest.raises(DataError, match="cannot copy .* to .*file: it exists"):
        lake.copy_to_local(spark, f"{base}/taken", tmp_path / "file")
    with pytest.raises(DataError, match="nothing to copy at .*nowhere"):
        lake.copy_to_local(spark, f"{base}/nowhere", tmp_path / "new")


def test_places_where_nothing_can_be_written(spark, base, tmp_path, monkeypatch):
    lake.check_place(spark, f"{base}/not/there/yet")
    lake.check_place(spark, "relative/lake")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "lake"):
        with pytest.raises(DataError, match=rf"nothing can be written to {place}: .*/file is a file"):
            lake.check_place(spark, str(place))
    with pytest.raises(
        DataError, match=r'cannot use the place nope://x/y \(.*No FileSystem for scheme "nope"\); choose'
    ):
        lake.check_place(spark, "nope://x/y")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(DataError, match=r"nothing can be written to .*/lake: .* is not yours to write"):
        lake.check_place(spark, str(tmp_path / "lake"))


def test_links_are_not_gone_behind(spark, tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "deep").mkdir(parents=True)
    (outside / "precious").write_text("mine")
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    with pytest.raises(DataError, match=r"inside/link is a link to a directory and is not copied"):
        lake.copy_to_local(spark, str(inside), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    (inside / "file").symlink_to(outside / "precious")
    assert lake.delete(spark, str(inside))
    assert sorted(path.name for path in outside.iterdir()) == ["deep", "precious"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "file").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"cannot copy .*/broken to .*/copy: .*broken/file"):
        lake.copy_to_local(spark, str(tmp_path / "broken"), tmp_path / "copy")


def test_a_lake_on_any_file_system(spark, base):
    def write(draft):
        draft.write_table(spark.range(4), "ids")

    root = f"{base}/lake/step"
    for seed in (1, 2, 1):
        call = {"step": "ids", "settings": {"seed": seed}, "inputs": {}}
        published = lake.publish(spark, root, **call, write=write, keep=0)
        assert lake.current(spark, root, "ids").path == published.path
        assert lake.read_table(spark, root, "ids").count() == published.manifest.tables["ids"].rows == 4
        assert [name for name, *_ in lake.list_dir(spark, root)] == sorted([published.manifest.version, POINTER])
    assert len(lake.fingerprint_files(spark, [root])) == 16


def test_fingerprint_of_files_elsewhere_is_that_of_name_and_length(spark, tmp_path):
    spark.conf.set("fs.viewfs.mounttable.prints.link./x", f"file:{tmp_path}")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a").write_text("1")
    before = lake.fingerprint_files(spark, ["viewfs://prints/x/one"])
    assert lake.fingerprint_files(spark, ["viewfs://prints/x/one"]) == before
    (tmp_path / "one/a").write_text("12")
    assert lake.fingerprint_files(spark, ["viewfs://prints/x/one"]) != before


def test_a_checksum_left_by_hadoop_does_not_spoil_a_replaced_file(spark, tmp_path):
    path = tmp_path / "text"
    at = fs.locate(spark, str(path))
    fs._put(at, "written by Hadoop")
    assert (tmp_path / ".text.crc").exists()
    lake.write_text(spark, str(path), "written by us")
    assert lake.read_text(spark, str(path)) == Path(path).read_text() == "written by us"
