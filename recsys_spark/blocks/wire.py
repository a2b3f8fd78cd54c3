"""Named arrays as bytes and back, what tasks hand to one another: an Arrow record of lists, which knows its types."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from recsys_spark.kernels.coding import looked_up, value_levels
from recsys_spark.kernels.rows import F32, NO_F32, read_only


def pack(arrays: Mapping[str, np.ndarray | pa.Array]) -> bytes:
    """The arrays, of any lengths and types, as one Arrow stream."""
    lists = []
    for array in arrays.values():
        flat = array if isinstance(array, pa.Array) else pa.array(array)
        lists.append(pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat))
    batch = pa.RecordBatch.from_arrays(lists, names=list(arrays))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpack(data: bytes | bytearray | memoryview | np.ndarray) -> dict[str, pa.Array]:
    """The inverse of `pack`; nothing is copied."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        batch = stream.read_next_batch()
    return {name: batch.column(name).flatten() for name in batch.schema.names}


def narrow(numbers: np.ndarray) -> np.ndarray:
    """Non-negative integers in the smallest unsigned type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))), copy=False)


def code_values(values: F32) -> tuple[F32, np.ndarray]:
    """Levels and one-byte codes where there are at most 256 levels, as ratings mostly have; else no levels, values.

    >>> code_values(np.array([4, 3.5, 4], np.float32))
    (array([4. , 3.5], dtype=float32), array([0, 1, 0], dtype=uint8))
    """
    levels, codes = value_levels(values)
    return (levels, codes) if len(levels) or not len(values) else (NO_F32, values)


def decode_values(levels: F32, codes: np.ndarray) -> F32:
    """The inverse of `code_values`."""
    return look_up(levels, codes) if len(levels) else codes


def look_up(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``table[places]``, of places that are known to be there."""
    return looked_up(*read_only(table, places))
