"""Parquet's row groups as tasks read them: every row once, and no file that is not as it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_spark.blocks import rowgroups
from recsys_spark.blocks.rowgroups import Column, Span, UnreadableError, read_spans
from recsys_spark.blocks.scan import Scan, spans

USER = Column("user", "user", "bigint")


def test_spans_cover_every_row_once(tmp_path: Path) -> None:
    files = []
    for n, rows in enumerate((100, 3, 0, 58)):
        files.append(str(tmp_path / f"{n}.parquet"))
        pq.write_table(pa.table({"user": np.arange(rows)}), files[-1], row_group_size=40)
    for tasks in (1, 2, 3, 7):
        found = spans(Scan([USER], files), tasks, 10)
        assert found is not None
        seen: dict = {}
        for span in (span for task in found for span in task):
            seen.setdefault((span.path, span.group), []).extend(range(span.start, span.stop))
        assert sum(len(rows) for rows in seen.values()) == 161
        assert all(rows == list(range(len(rows))) for rows in seen.values())
        assert len(found) == tasks
        assert max(sum(s.stop - s.start for s in task) for task in found) <= 161 / tasks * 1.3 + 1
    assert len(spans(Scan([USER], files), 100, 10) or []) == 16
    assert spans(Scan([USER], [*files, str(tmp_path / "none.parquet")]), 2, 10) is None
    assert spans(Scan([USER._replace(kind="int")], files), 2, 10) is None


def test_a_span_is_cut_out_of_its_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowgroups, "_ROWS", 7)
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"u": np.arange(50)}), path, row_group_size=30)
    batches = list(read_spans([Span(path, 0, 5, 22), Span(path, 1, 0, 20)], [Column("user", "u", "bigint")]))
    assert [n for b in batches for n in b["user"].to_pylist()] == [*range(5, 22), *range(30, 50)]


def test_damaged_and_unexpected_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"u": np.arange(5000)}), path, write_page_checksum=True, compression="none")
    span = Span(str(path), 0, 0, 5000)
    with pytest.raises(UnreadableError, match="has .*int64.* for u, not int"):
        list(read_spans([span], [Column("user", "u", "int")]))
    with pytest.raises(UnreadableError, match=r"has \[\] for v"):
        list(read_spans([span], [Column("user", "v", "bigint")]))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="CRC"):
        list(read_spans([span], [Column("user", "u", "bigint")]))
