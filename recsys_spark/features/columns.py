"""What a feature column is, and its way to and from a table; needs NumPy and pyarrow, not pyspark.

A side's features are a sparse matrix X, one row an id and one column a :class:`FeatureColumn`:

    >>> columns = (FeatureColumn(0, "genre", "genre=Comedy"), FeatureColumn(1, "genre", "genre=Drama"),
    ...            FeatureColumn(2, "year", "year=1990-1994"))
    >>> rows = pa.table({"item": [7, 3], "indices": [[0, 1], [2]], "values": [[0.5, 0.5], [1.0]]})
    >>> to_csr(rows, "item", pa.array([3, 5, 7]))  # 3 and 7 have features, 5 has none
    (array([0, 1, 1, 3]), array([2, 0, 1], dtype=int32), array([1. , 0.5, 0.5], dtype=float32))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.errors import DataError
from recsys_spark.schema import INDICES, VALUES

_SHOWN = 5
COLUMNS_DDL = "index int, group string, name string, mean double, std double"
COLUMNS_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int32()),
        pa.field("group", pa.string()),
        pa.field("name", pa.string()),
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
    ]
)


@dataclass(frozen=True)
class FeatureColumn:
    """One column of a side's feature matrix.

    ``mean`` and ``std`` (population) are those that the column was standardised with, None where it was not;
    a ``std`` of 0 marks a constant column, whose every entry is 0.
    """

    index: int
    group: str
    name: str
    mean: float | None = None
    std: float | None = None


def check_columns(columns: Sequence[FeatureColumn]) -> tuple[FeatureColumn, ...]:
    """The columns in order of their index; DataError unless the indices are 0, 1, …, d−1 and the names unique."""
    ordered = tuple(sorted(columns, key=lambda column: column.index))
    found = [column.index for column in ordered]
    if found != list(range(len(ordered))):
        raise DataError(f"feature columns must be numbered 0 to {len(ordered) - 1} without gaps, found {found[:20]}")
    names = [(column.group, column.name) for column in ordered]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        names_twice = ", ".join(f"{name} of group {group}" for group, name in twice)
        raise DataError(f"feature columns named twice: {names_twice}")
    return ordered


def columns_to_table(columns: Sequence[FeatureColumn]) -> pa.Table:
    """The columns as an Arrow table of :data:`COLUMNS_SCHEMA`, one row each, by index."""
    rows = [vars(column) for column in check_columns(columns)]
    return pa.Table.from_pylist(rows, schema=COLUMNS_SCHEMA)


def columns_from_table(table: pa.Table) -> list[FeatureColumn]:
    """The inverse of :func:`columns_to_table`, rows in any order; DataError names what the table lacks."""
    missing = [name for name in COLUMNS_SCHEMA.names if name not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)
        raise DataError(f"a table of feature columns lacks {', '.join(missing)}; it has {found}")
    return list(check_columns([FeatureColumn(**row) for row in table.select(COLUMNS_SCHEMA.names).to_pylist()]))


def to_csr(
    rows: pa.Table, key: str, ids: pa.Array | Sequence[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Feature rows as a CSR matrix whose row r belongs to ``ids[r]``; on the driver.

    Parameters
    ----------
    rows : columns `key`, indices list<int32> (ascending in each row), values list<float>; rows in any order
    ids : the keys wanted, in order; one that `rows` lacks gets an empty row, rows of other keys are left out

    Returns
    -------
    indptr int64 (len(ids) + 1,), indices int32 (nnz,), values float32 (nnz,)

    Raises
    ------
    DataError
        A key occurs twice in `rows`, or a row has not as many values as indices.
    """
    table = rows.combine_chunks()
    keys = table[key].combine_chunks()
    refuse_twins(keys, key)
    paired = pc.equal(pc.list_value_length(table[INDICES]), pc.list_value_length(table[VALUES]))
    if not pc.all(paired, min_count=0).as_py():
        raise DataError("a feature row has not as many values as indices")
    wanted = ids if isinstance(ids, pa.Array) else pa.array(ids, type=keys.type)
    taken = table.select([INDICES, VALUES]).take(pc.index_in(wanted.cast(keys.type), value_set=keys))
    lengths = pc.fill_null(pc.list_value_length(taken[INDICES]), 0).to_numpy().astype(np.int64)
    indptr = np.zeros(len(wanted) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    indices = pc.list_flatten(taken[INDICES]).to_numpy().astype(np.int32, copy=False)
    values = pc.list_flatten(taken[VALUES]).to_numpy().astype(np.float32, copy=False)
    return indptr, indices, values


def refuse_twins(keys: pa.Array | pa.ChunkedArray, key: str) -> None:
    """Raise DataError that names the first keys, nulls apart, that feature rows have more than once."""
    if pc.count_distinct(keys).as_py() < len(keys) - keys.null_count:
        counts = keys.drop_null().value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        raise DataError(f"feature rows name {key} {', '.join(map(str, twice[:_SHOWN].to_pylist()))} more than once")


def flat_rows(
    rows: pa.Table | pa.RecordBatch, side: str, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Feature rows (id, indices, values) as three flat arrays; a null list has no entry.

    Parameters
    ----------
    side : user or item, for the words of an error
    width : number of the side's feature columns

    Returns
    -------
    lengths int64 (n,), indices int32 (nnz,) in [0, width), values float32 (nnz,), all finite

    Raises
    ------
    DataError
        Rows with more values than indices or fewer, with an index that is null, twice in its row or no column's, or
        with a value that is null, NaN or infinite; the first of them are named.
    """

    def refuse(bad: npt.NDArray[np.bool_], what: str) -> None:
        if bad.any():
            first = [rows["id"][int(at)].as_py() for at in np.flatnonzero(bad)[:_SHOWN]]
            raise DataError(f"{side} features hold {what} in {int(bad.sum())} row(s); the first: {side} {first}")

    lengths, others = (
        pc.fill_null(pc.list_value_length(rows[name]), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        for name in (INDICES, VALUES)
    )
    refuse(lengths != others, "not as many values as indices")
    owner = np.repeat(np.arange(len(lengths)), lengths)

    def of_entries(bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.bincount(owner[bad], minlength=len(lengths)) > 0

    # In float64 a null is NaN, and no index of an int64 column is cut down to one that looks right.
    numbers, found = (
        pc.list_flatten(rows[name]).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        for name in (INDICES, VALUES)
    )
    inside = (numbers >= 0) & (numbers < width) & (numbers == np.floor(numbers))
    columns = f"0 to {width - 1}" if width else "none"
    refuse(of_entries(~inside), f"indices that are no feature column ({columns})")
    with np.errstate(over="ignore"):
        values = found.astype(np.float32)
    refuse(of_entries(~np.isfinite(values)), "values that are null, NaN or infinite (leave a missing value out)")
    indices = numbers.astype(np.int32)
    refuse(of_entries(_repeated(owner, indices)), "an index twice")
    return lengths, indices, values


def _repeated(owner: npt.NDArray[np.int64], indices: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which entries have the owner and the index of another one; owners ascend."""
    repeated = np.zeros(len(owner), bool)
    within = owner[1:] == owner[:-1]
    if (within & (np.diff(indices) <= 0)).any():  # else each row's indices ascend, as `encode` leaves them
        order = np.lexsort((indices, owner))
        repeated[order[1:]] = within & (np.diff(indices[order]) == 0)
    return repeated
