"""Files of chunks: read as they were left, and not otherwise; none is left half-written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_spark.blocks.chunk_files import ChunkFile, write_chunks
from recsys_spark.blocks.residency import BlockStore
from recsys_spark.blocks.rowgroups import Column, Span

SPANS, COLUMNS = [Span("/a.parquet", 0, 0, 3)], [Column("user", "u", "int")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(BlockStore, "here", classmethod(lambda cls, fit: cls(fit, tmp_path)))
    return BlockStore("store", tmp_path).directory


def written(*chunks: bytes) -> ChunkFile:
    file = write_chunks(map(pa.py_buffer, chunks), "store", SPANS, COLUMNS)
    assert file is not None
    return file


def test_chunks_come_back_one_by_one(folder: Path) -> None:
    file = written(b"one", b"three", b"2")
    assert [bytes(chunk) for chunk in file.read() or ()] == [b"one", b"three", b"2"]
    assert (file.spans, file.columns) == (SPANS, COLUMNS)
    assert [path.name for path in folder.iterdir()] == [file.name]


def test_no_chunks_leave_no_file(folder: Path) -> None:
    assert write_chunks([], "store", SPANS, COLUMNS) is None
    assert not list(folder.iterdir())


def test_a_file_that_is_missing_or_was_touched_is_not_read(folder: Path) -> None:
    file = written(b"one")
    assert file._replace(name="another").read() is None
    assert file._replace(store="elsewhere").read() is None
    (folder / file.name).write_bytes(b"eno")
    assert file.read() is None


def test_a_file_that_cannot_be_written_whole_is_gone(folder: Path) -> None:
    def chunks() -> Iterator[pa.Buffer]:
        yield pa.py_buffer(b"one")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_chunks(chunks(), "store", SPANS, COLUMNS)
    assert not list(folder.iterdir())
