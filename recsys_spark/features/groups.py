"""How one group of features turns an Arrow array of raw values into matrix entries; NumPy and pyarrow only.

The same code runs in Spark's workers and wherever a row has to be encoded later without Spark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.features.columns import FeatureColumn
from recsys_spark.schema import INDICES, VALUES

Kind = Literal["one_hot", "multi_hot", "bins", "numeric"]
Normalise = Literal["row_l1", "col_zscore", "none"]

# Entries made at a time: a standardised group is dense, and a batch of 10,000 rows times a vocabulary of
# 10,000 would be a gigabyte in a worker.
_MAX_ENTRIES = 1 << 22


class Entries(NamedTuple):
    """Matrix entries in coordinate form: three arrays of one length, no order promised."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupEncoder:
    """A group of columns, ready to encode: what it was told (name, kind …) and what was learned from the data.

    A null stands for "missing" and gives no entry at all: after col_zscore the row so lies at the mean of each
    column. Explicit zeros are not stored. A value that is not in the vocabulary gives no entry of its own.

    Attributes
    ----------
    name, kind, normalise : as in the settings
    labels : name of each column
    vocabulary : value of each column: a string (hot kinds) or the bin's number ⌊x / width⌋ (bins); empty for numeric
    width : of a bin
    mean, std : of each column, where standardised; a std of 0 is a constant column, whose entries are 0
    """

    name: str
    kind: Kind
    normalise: Normalise
    labels: tuple[str, ...]
    vocabulary: tuple[str, ...] | tuple[int, ...] = ()
    width: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def columns(self, start: int) -> list[FeatureColumn]:
        """The group's columns, numbered from `start`."""
        if self.mean is None or self.std is None:
            return [FeatureColumn(start + j, self.name, label) for j, label in enumerate(self.labels)]
        facts = zip(self.labels, self.mean, self.std, strict=True)
        return [FeatureColumn(start + j, self.name, label, m, s) for j, (label, m, s) in enumerate(facts)]

    def raw(self, array: pa.Array) -> Entries:
        """Entries before normalisation, zeros included; columns numbered from 0.

        Parameters
        ----------
        array : string (one_hot), list<string> (multi_hot), double (bins, numeric) or list<double> (numeric)
        """
        if self.kind == "numeric":
            return _numbers(array)
        if self.kind == "multi_hot":
            rows, values = pc.list_parent_indices(array).to_numpy().astype(np.int64), pc.list_flatten(array)
        else:
            rows, values = np.arange(len(array), dtype=np.int64), array
        if self.kind == "bins":
            values = pa.array(np.floor(_to_numpy(values) / self.width), from_pandas=True)
        value_set = pa.array(self.vocabulary, pa.float64() if self.kind == "bins" else pa.string())
        found = _to_numpy(pc.index_in(values.cast(value_set.type), value_set=value_set))
        hit = ~np.isnan(found)
        # A value listed twice in a row counts once.
        width = max(len(self.labels), 1)
        places = np.unique(rows[hit] * width + found[hit].astype(np.int64))
        return Entries(places // width, places % width, np.ones(len(places)))

    def encode(self, array: pa.Array) -> Entries:
        """Normalised entries, without zeros; columns numbered from 0. For `array` see :meth:`raw`."""
        entries = self.raw(array)
        if self.normalise == "row_l1":
            norms = np.bincount(entries.rows, np.abs(entries.values), minlength=len(array))
            norms[norms == 0] = 1.0
            entries = entries._replace(values=entries.values / norms[entries.rows])
        elif self.normalise == "col_zscore":
            if self.kind != "numeric":
                entries = _densify(entries, np.flatnonzero(_valid(array)), len(self.labels))
            entries = entries._replace(values=self._standardise(entries))
        kept = entries.values != 0
        return Entries(entries.rows[kept], entries.columns[kept], entries.values[kept])

    def _standardise(self, entries: Entries) -> npt.NDArray[np.float64]:
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        return (entries.values - mean[entries.columns]) * scale[entries.columns]


def encode_batches(
    batches: Iterable[pa.RecordBatch], key: str, encoders: Sequence[GroupEncoder]
) -> Iterator[pa.RecordBatch]:
    """Raw rows to feature rows, for ``mapInArrow``; in the executor.

    Parameters
    ----------
    batches : columns `key` and g0, g1, …: the raw values of encoders[0], encoders[1], …

    Yields
    ------
    Columns `key`, indices list<int32> (ascending in each row), values list<float32>; as many rows, in order.
    """
    width = sum(len(encoder.labels) for encoder in encoders)
    step = max(1, _MAX_ENTRIES // max(1, width))
    for batch in batches:
        for start in range(0, batch.num_rows, step):
            yield _encode_batch(batch.slice(start, step), key, encoders)


def raw_column(position: int) -> str:
    """Name of the column that holds the raw values of the group at ``position``."""
    return f"g{position}"


def _encode_batch(batch: pa.RecordBatch, key: str, encoders: Sequence[GroupEncoder]) -> pa.RecordBatch:
    parts, offset = [Entries(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0
    for position, encoder in enumerate(encoders):
        entries = encoder.encode(batch.column(raw_column(position)))
        parts.append(entries._replace(columns=entries.columns + offset))
        offset += len(encoder.labels)
    rows, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.lexsort((columns, rows))
    offsets = np.zeros(batch.num_rows + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=batch.num_rows), out=offsets[1:])
    indices = pa.ListArray.from_arrays(offsets, pa.array(columns[order], pa.int32()))
    floats = pa.ListArray.from_arrays(offsets, pa.array(values[order].astype(np.float32)))
    return pa.RecordBatch.from_arrays([batch.column(key), indices, floats], [key, INDICES, VALUES])


def _numbers(array: pa.Array) -> Entries:
    """A number a row (column 0), or a list of numbers a row; nulls left out."""
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
        rows = np.repeat(np.arange(len(array), dtype=np.int64), lengths)
        columns = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        array = pc.list_flatten(array)
    else:
        rows = np.arange(len(array), dtype=np.int64)
        columns = np.zeros(len(array), np.int64)
    valid = _valid(array)
    return Entries(rows[valid], columns[valid], _to_numpy(array)[valid])


def _densify(entries: Entries, rows: npt.NDArray[np.int64], width: int) -> Entries:
    """Every column of the given rows, zeros included."""
    at = np.searchsorted(rows, entries.rows)
    dense = np.zeros((len(rows), width))
    dense[at, entries.columns] = entries.values
    return Entries(np.repeat(rows, width), np.tile(np.arange(width, dtype=np.int64), len(rows)), dense.ravel())


def _valid(array: pa.Array) -> npt.NDArray[np.bool_]:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _to_numpy(array: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers as float64, null as NaN."""
    return pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
