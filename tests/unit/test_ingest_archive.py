"""Unpacking: the layouts that real zips have, and zips that mean harm."""

from __future__ import annotations

import contextlib
import io
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.errors import DataError
from recsys_spark.ingest.archive import unpack

LIMIT = 1_000_000


def make_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("members", "unpacked"),
    [
        (
            {"ml-32m/": "", "ml-32m/README.txt": "r", "ml-32m/ratings.csv": "a", "ml-32m/movies.csv": "b",
             "ml-32m/tags.csv": "c"},
            ["movies.csv", "ratings.csv"],
        ),
        ({"ratings.csv": "a", "movies.csv": "b", "users.csv": "c"}, ["movies.csv", "ratings.csv", "users.csv"]),
        ({"ml-10M100K/ratings.dat": "a", "ml-10M100K/movies.dat": "b", "ml-10M100K/split.sh": "x"},
         ["movies.dat", "ratings.dat"]),
        ({"ml-100k/u.data": "a", "ml-100k/u.item": "b", "ml-100k/u1.base": "x"}, ["u.data", "u.item"]),
        ({"x/ratings/part-0.csv": "a", "x/ratings/part-1.csv": "b", "x/movies.csv": "c"},
         ["movies.csv", "ratings/part-0.csv", "ratings/part-1.csv"]),
        ({"d/ratings.csv": "a", "d/movies.csv": "b", "__MACOSX/d/ratings.csv": "x"}, ["movies.csv", "ratings.csv"]),
    ],
)  # fmt: skip
def test_tables_are_unpacked_without_the_top_folder(
    tmp_path: Path, members: dict[str, str], unpacked: list[str]
) -> None:
    archive = make_zip(tmp_path / "a.zip", members)
    assert unpack(archive, tmp_path / "out", LIMIT) == unpacked
    found = [str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert sorted(found) == unpacked
    assert (tmp_path / "out" / unpacked[0]).read_text() in members.values()


@pytest.mark.parametrize(
    "name", ["../ratings.csv", "/tmp/ratings.csv", "a/../../ratings.csv", "..\\ratings.csv", "C:/x"]
)
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {"d/ratings.csv": "a", name: "b"})
    with pytest.raises(DataError, match="leads outside the target folder"):
        unpack(archive, tmp_path / "out", LIMIT)
    assert not (tmp_path / "out").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("d/movies.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/ratings.csv", "a")
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"'d/movies.csv' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMIT)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"ratings.csv": "a"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="is encrypted"):
        unpack(path, tmp_path / "out", LIMIT)


def test_too_large_a_zip_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"ratings.csv": "0" * 5000, "movies.csv": "0" * 5000, "tags.csv": "0" * 9999}
    )
    assert unpack(archive, tmp_path / "enough", max_bytes=10_000)
    with pytest.raises(DataError, match=r"unpacks to more than 9,999 bytes; .* raise ingest.max_unpacked_gb"):
        unpack(archive, tmp_path / "out", max_bytes=9_999)
    assert not (tmp_path / "out").exists()


def test_a_zip_that_lies_about_its_sizes_is_stopped_while_unpacking(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"ratings.csv": "0" * 500_000})
    data = bytearray(archive.read_bytes())
    for place in (22, data.index(b"PK\x01\x02") + 24):  # uncompressed size, in both headers
        data[place : place + 4] = (100).to_bytes(4, "little")
    archive.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged or not a zip"):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert (tmp_path / "out" / "ratings.csv").stat().st_size <= 1000


def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"d/ratings.csv": "a", "d/movies.csv": "b", "d/movies.csv/c": "c"})
    with pytest.raises(DataError, match="'movies.csv' is a file and a folder"):
        unpack(archive, tmp_path / "out", LIMIT)


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot unpack .*a.zip to .*out: "):
        unpack(make_zip(tmp_path / "a.zip", {"ratings.csv": "a"}), tmp_path / "out", LIMIT)


def test_a_link_that_lies_in_the_target_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / "ratings.csv").symlink_to(tmp_path / "precious")
    with pytest.raises(DataError, match="cannot unpack .* exists"):
        unpack(make_zip(tmp_path / "a.zip", {"ratings.csv": "a"}), tmp_path / "out", LIMIT)
    assert (tmp_path / "precious").read_text() == "mine"


PARTS = ["ratings.csv", "movies.csv", "users", "ratings", "..", ".", "", "a", "\\", "C:", "é", "\x00", "x" * 300]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join)
CHANGES = st.lists(st.tuples(st.integers(0), st.binary(max_size=4)), max_size=4)


@given(names=st.lists(NAMES, min_size=1, max_size=4), changes=CHANGES)
@settings(max_examples=300, deadline=None)
def test_any_zip_is_unpacked_inside_its_folder_or_refused(names: list[str], changes: list[tuple[int, bytes]]) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"1,2,3\n" * 20)
    data = bytearray(buffer.getvalue())
    for place, new in changes:
        at = place % len(data)
        data[at : at + len(new)] = new
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "a.zip").write_bytes(bytes(data))
        (here / "in").mkdir()
        with contextlib.suppress(DataError):  # any other error fails the test
            for name in unpack(here / "a.zip", here / "in" / "out", LIMIT):
                assert (here / "in" / "out" / name).is_file()
        assert {file.name for file in here.iterdir()} == {"a.zip", "in"}
        assert {file.name for file in (here / "in").iterdir()} <= {"out"}


def test_no_zip_and_damaged_zips(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such zip"):
        unpack(tmp_path / "none.zip", tmp_path / "out", LIMIT)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(DataError, match="damaged or not a zip"):
        unpack(tmp_path / "text.zip", tmp_path / "out", LIMIT)
    broken = make_zip(tmp_path / "broken.zip", {"ratings.csv": "0123456789" * 1000})
    data = bytearray(broken.read_bytes())
    data[45] ^= 0xFF
    broken.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged or not a zip"):
        unpack(broken, tmp_path / "out", LIMIT)


def test_zips_without_or_with_several_data_sets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no ratings .*found: d/readme.txt"):
        unpack(make_zip(tmp_path / "a.zip", {"d/readme.txt": "a"}), tmp_path / "out", LIMIT)
    with pytest.raises(DataError, match="several data sets, in a, b"):
        unpack(make_zip(tmp_path / "b.zip", {"a/ratings.csv": "a", "b/ratings.csv": "a"}), tmp_path / "out", LIMIT)
