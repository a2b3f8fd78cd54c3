"""A step beyond a half-sweep's solution, along the line from the rows as they were.

On that line J is a parabola whose least value is at the solution, so it is nowhere above where it began, short of twice
the way (docs/model.md, Beyond the solution).
"""

from __future__ import annotations

import numpy as np

from recsys_spark.kernels.rows import F32, F64


def beyond(before: F32, solved: F32, lengths: F64) -> F32:
    """The points at ``lengths`` (n,) from ``before`` (0) by way of ``solved`` (1), both (n, …), each rounded once."""
    start = before.astype(np.float64)
    return (start + lengths.reshape(-1, *[1] * (before.ndim - 1)) * (solved - start)).astype(np.float32)


def lengths_within(before: F32, solved: F32, length: float) -> F64:
    """How far each row (n, k) may go, at most ``length``, before an entry turns negative; none is in either."""
    room = np.full(before.shape, np.inf)
    np.divide(before, before - solved.astype(np.float64), out=room, where=solved < before)
    return np.minimum(length, room.min(axis=1, initial=np.inf))
