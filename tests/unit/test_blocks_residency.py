"""Block files: found by content, believed as their writer left them, read again once they were touched."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from problems import problem
from recsys_spark.blocks import residency
from recsys_spark.blocks.layout import Block
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.residency import BlockStore, Handle, Miss


@pytest.fixture
def block() -> Block:
    p = problem()
    return build_blocks(p.plan(1, 1), p.ratings.to_batches(), {})[0]


@pytest.fixture
def record(block: Block) -> bytes:
    return block.to_bytes()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was hashed; this process has checked nothing yet."""
    seen: list[int] = []
    digest = residency._digest

    def counted(*data: bytes) -> str:
        seen.append(sum(map(len, data)))
        return digest(*data)

    monkeypatch.setattr(residency, "_digest", counted)
    monkeypatch.setattr(residency, "_checked", {})
    return seen


def file_of(store: BlockStore) -> Path:
    (path,) = store.directory.iterdir()
    return path


def test_a_file_as_its_writer_left_it_is_not_read_to_be_believed(
    tmp_path: Path, block: Block, record: bytes, reads: list[int]
) -> None:
    store = BlockStore("fit", tmp_path)
    handle = store.put(3, block)
    reads.clear()
    opened = store.open(handle)
    assert isinstance(opened, Block)
    assert opened.to_bytes() == record
    assert reads == []


def test_a_block_that_was_read_leaves_the_same_file_as_one_that_was_made(
    tmp_path: Path, block: Block, record: bytes
) -> None:
    read = pickle.loads(pickle.dumps(block))
    assert read.to_bytes() == record
    stores = [BlockStore("fit", tmp_path / name) for name in "ab"]
    handles = [store.put(3, given) for store, given in zip(stores, (block, read), strict=True)]
    assert handles[0]._replace(state=(0, 0, 0)) == handles[1]._replace(state=(0, 0, 0))
    assert handles[0].size == len(record)
    assert [file_of(store).read_bytes() for store in stores] == [record, record]


def test_a_touched_file_is_read_once(tmp_path: Path, block: Block, record: bytes, reads: list[int]) -> None:
    store = BlockStore("fit", tmp_path)
    handle = store.put(3, block)
    os.utime(file_of(store), ns=(0, 0))
    reads.clear()
    assert isinstance(store.open(handle), Block)
    assert isinstance(store.open(handle), Block)
    assert reads == [len(record)]


def test_a_file_altered_in_place_is_a_miss_and_is_written_anew(
    tmp_path: Path, block: Block, record: bytes, reads: list[int]
) -> None:
    store = BlockStore("fit", tmp_path)
    handle = store.put(3, block)
    path = file_of(store)
    with path.open("r+b") as file:
        file.seek(len(record) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(handle.state[1], handle.state[1]))  # what a careless copy does: the time of its change tells
    assert store.open(handle) == Miss(3)
    store.put(3, block)
    reads.clear()
    assert isinstance(store.open(handle), Block)  # another file than the handle's, the same content
    assert reads == [len(record)]


def test_another_executors_handle_is_a_miss(tmp_path: Path, block: Block) -> None:
    handle = BlockStore("fit", tmp_path / "a").put(3, block)
    assert BlockStore("fit", tmp_path / "b").open(handle) == Miss(3)


def test_clearing_takes_all_of_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlockStore, "here", classmethod(lambda cls, fit: cls(fit, tmp_path)))
    handles = iter([Handle(0, 0, "", 0, (0, 0, 0))])
    assert list(residency.clear_store(handles, "fit")) == []
    assert next(handles, None) is None
