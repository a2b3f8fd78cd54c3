"""A rating block: every rating of a contiguous range of one side's rows, in one buffer that can be memory-mapped.

Worked example: 3 users × 4 items in 2 user blocks. Ids are sorted and numbered 0, 1, …; a block holds a range of rows.

    ratings            item 10  20  30  40        user block 0: rows 0..1 (users 7, 8)
      user 7 (row 0)         4   .   3   .          indptr  0  2  3
      user 8 (row 1)         .   5   .   .          cols    0  2 | 1        sorted by column within a row
      user 9 (row 2)         1   .   .   2          values  4  3 | 5
                                                  user block 1: rows 2..2 (user 9)
                                                    indptr  0  2
                                                    cols    0  3
                                                    values  1  2

>>> import numpy as np
>>> entries = Entries.of(rows=[2, 0, 1, 0, 2], cols=[3, 2, 1, 0, 0], values=[2, 3, 5, 4, 1])
>>> from recsys_spark.blocks.assemble import assemble
>>> from recsys_spark.blocks.grouped import Grouped
>>> lower, upper = Grouped.of(entries).cut(np.array([0, 2, 3]))
>>> first, second = assemble(0, 0, 2, [lower]), assemble(0, 2, 3, [upper])
>>> [a.tolist() for a in (first.ratings.indptr, first.ratings.cols, first.ratings.values)]
[[0, 2, 3], [0, 2, 1], [4.0, 3.0, 5.0]]
>>> [a.tolist() for a in (second.ratings.indptr, second.ratings.cols, second.ratings.values)]
[[0, 2], [0, 3], [1.0, 2.0]]
>>> Block.from_buffer(second.to_bytes()).ratings.values.tolist()
[1.0, 2.0]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from recsys_spark.blocks.wire import pack, unpack
from recsys_spark.errors import FitError
from recsys_spark.kernels.bucket import numbered
from recsys_spark.kernels.rows import I32, NO_F32, Csr

USERS, ITEMS = 0, 1
SIDE_NAMES = ("user", "item")
PARTS = ("ratings", "features", "held_out", "graph")
"""The sparse matrices of a block."""
_LOCAL = ("refers", "neighbours", "packed_ids")
_MAGIC = b"RSBLK001"
_ALIGN = 64


def other(side: int) -> int:
    """The side that ``side`` is rated against."""
    return 1 - side


def smaller_side(rows: Sequence[float]) -> int:
    """The side of fewer rows, of (users, items)."""
    return USERS if rows[USERS] < rows[ITEMS] else ITEMS


class Entries(NamedTuple):
    """Unsorted (row, col, value, weight) entries of one side, global row and column numbers."""

    rows: np.ndarray  # (m,) int32
    cols: np.ndarray  # (m,) int32
    values: np.ndarray  # (m,) float32
    weights: np.ndarray  # (m,) float32, or (0,) where every weight is 1

    @classmethod
    def of(cls, rows: ArrayLike, cols: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None) -> Entries:
        """Entries from anything array-like."""
        return cls(
            np.asarray(rows, np.int32),
            np.asarray(cols, np.int32),
            np.asarray(values, np.float32),
            NO_F32 if weights is None else np.asarray(weights, np.float32),
        )

    def take(self, where: np.ndarray) -> Entries:
        """The entries at ``where``, in that order."""
        weights = self.weights[where] if self.weights.size else self.weights
        return Entries(self.rows[where], self.cols[where], self.values[where], weights)


@dataclass(frozen=True, eq=False)
class Block:
    """One block of one side. Its arrays are C-contiguous views of one buffer where it was read from one.

    Pickled, it is its record.
    """

    side: int
    start: int  # number of the first row
    ratings: Csr  # n rows; columns are the other side's row numbers
    features: Csr  # n rows; columns are the side's feature columns
    held_out: Csr  # n rows of validation ratings (users only; else empty)
    graph: Csr  # n rows of similarities S_ij; columns are the side's own row numbers
    keys: np.ndarray  # (n,) uint64, the ids' keys (`kernels.start`)
    refers: I32 | None = None  # (m,) ascending: rows of the other side that columns number; None: all of them
    neighbours: I32 | None = None  # likewise of the side's own rows and the graph: the block's own and their neighbours
    packed_ids: np.ndarray | None = None  # uint8, the rows' ids where the driver does not know them

    @property
    def n_rows(self) -> int:
        """Rows of the block, those without ratings included."""
        return self.ratings.n_rows

    @property
    def stop(self) -> int:
        """Number of the row after the last."""
        return self.start + self.n_rows

    @property
    def ids(self) -> pa.Array:
        """The rows' ids, (n,) int64 or string. Raises ValueError where the block does not hold them."""
        if self.packed_ids is None:
            raise ValueError("the block does not hold its rows' ids: it is not localised")
        return unpack(self.packed_ids)["ids"]

    def localised(self, ids: pa.Array) -> Block:
        """The same with its rows' ids, and columns that number only the rows that it refers to, in the same order."""
        rated = np.concatenate([self.ratings.cols, self.held_out.cols])
        refers, cols = numbered(rated)
        tied = np.concatenate([np.arange(self.start, self.stop, dtype=np.int32), self.graph.cols])
        neighbours, edges = numbered(tied)
        ids = ids.take(pa.array(np.arange(len(ids))))  # a part of an array is written in more bytes than a copy of it
        return replace(
            self,
            ratings=self.ratings._replace(cols=cols[: len(self.ratings.cols)]),
            held_out=self.held_out._replace(cols=cols[len(self.ratings.cols) :]),
            graph=self.graph._replace(cols=edges[self.n_rows :]),
            refers=refers,
            neighbours=neighbours,
            packed_ids=np.frombuffer(pack({"ids": ids}), np.uint8),
        )

    def global_cols(self, part: str) -> I32:
        """Columns of a part as row numbers of a whole side (features: as feature columns)."""
        named = {"ratings": self.refers, "held_out": self.refers, "graph": self.neighbours}.get(part)
        cols: I32 = getattr(self, part).cols
        return cols if named is None else named[cols]

    def to_bytes(self) -> bytes:
        """One binary record: magic, a JSON header of names, types, lengths and offsets, the arrays, each aligned."""
        return b"".join(self.parts())

    def __reduce__(self) -> tuple[Callable[[bytes], Block], tuple[bytes]]:
        return Block.from_buffer, (self.to_bytes(),)

    def parts(self) -> list[bytes | memoryview]:
        """The record as what it is joined of, arrays uncopied."""
        arrays = {
            f"{part}.{name}": array for part in PARTS for name, array in getattr(self, part)._asdict().items()
        } | {"keys": self.keys}
        arrays |= {name: array for name in _LOCAL if (array := getattr(self, name)) is not None}
        header: dict[str, object] = {"side": self.side, "start": self.start}
        offset, layout = 0, {}
        for name, array in arrays.items():
            layout[name] = [array.dtype.str, len(array), offset]
            offset += -(-array.nbytes // _ALIGN) * _ALIGN
        header["arrays"] = layout
        text = json.dumps(header).encode()
        text += b" " * (-(len(text) + len(_MAGIC) + 8) % _ALIGN)
        parts: list[bytes | memoryview] = [_MAGIC, len(text).to_bytes(8, "little"), text]
        for array in arrays.values():
            if array.size:
                parts += [np.ascontiguousarray(array).data.cast("B"), bytes(-array.nbytes % _ALIGN)]
        return parts

    @classmethod
    def from_buffer(cls, buffer: bytes | bytearray | memoryview | np.ndarray) -> Block:
        """The block of a record, without copying. Raises FitError where the buffer is not a whole record."""
        raw = np.frombuffer(buffer, np.uint8)
        if len(raw) < 16 or raw[:8].tobytes() != _MAGIC:
            raise FitError(f"not a rating block: {len(raw)} bytes that do not start with {_MAGIC!r}")
        base = 16 + int.from_bytes(raw[8:16].tobytes(), "little")
        header = json.loads(raw[16:base].tobytes())
        found = {}
        for name, (kind, length, offset) in header["arrays"].items():
            size = np.dtype(kind).itemsize * length
            piece = raw[base + offset : base + offset + size]
            if len(piece) != size:
                raise FitError(f"a rating block is cut short: array {name} wants {size} bytes, {len(piece)} are there")
            found[name] = piece.view(kind)
        csrs: dict[str, Any] = {part: Csr(*(found[f"{part}.{name}"] for name in Csr._fields)) for part in PARTS}
        local = {name: found[name] for name in _LOCAL if name in found}
        return cls(header["side"], header["start"], keys=found["keys"], **csrs, **local)
