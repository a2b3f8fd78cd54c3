"""Mean and standard deviation of number columns, the same bits for every partitioning.

Floating sums depend on their grouping. Here each batch gives its sum as a few floats that add up to it *exactly*
(Shewchuk's expansions, found with :func:`math.fsum`, which rounds once), and the driver adds those with ``fsum``
again: the total is the exact sum, rounded once, whatever the batches were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from recsys_spark.features.groups import GroupEncoder, raw_column

_PARTIALS_DDL = "column int, count bigint, partial double, low double, high double"
_PARTIALS_SCHEMA = pa.schema(
    [
        pa.field("column", pa.int32()),
        pa.field("count", pa.int64()),
        pa.field("partial", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)


class Moments(NamedTuple):
    """Of each column: mean and population standard deviation, float64 (d,); (0, 0) where a column has no value."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


def moments(raw: DataFrame, numeric: Sequence[tuple[int, GroupEncoder]]) -> Moments:
    """Moments of the columns of number groups, one group's after the other's; two passes over `raw`.

    Parameters
    ----------
    numeric : position of each group in `raw` (column g0, g1, …) and its encoder
    """
    width = sum(len(encoder.labels) for _, encoder in numeric)
    counts, sums, low, high = _totals(raw, numeric, None, width)
    constant = low == high  # the mean of n equal numbers can miss them by one rounding
    mean = np.where(constant, low, sums / np.maximum(counts, 1))
    _, squares, _, _ = _totals(raw, numeric, mean, width)
    return Moments(mean, np.where(constant, 0.0, np.sqrt(squares / np.maximum(counts, 1))))


def partial_sums(
    batches: Iterable[pa.RecordBatch],
    numeric: Sequence[tuple[int, GroupEncoder]],
    centre: npt.NDArray[np.float64] | None,
) -> Iterator[pa.RecordBatch]:
    """Per batch and column: how many values, their least and greatest, and their exact sum; in the executor.

    The sum is that of x, or of (x − centre)², each square rounded to float64. A column has as many rows as its
    sum has parts; `count` is in the first, 0 in the others.
    """
    for batch in batches:
        out: list[tuple[int, int, float, float, float]] = []
        offset = 0
        for position, encoder in numeric:
            entries = encoder.raw(batch.column(raw_column(position)))
            for j in range(len(encoder.labels)):
                x = entries.values[entries.columns == j]
                if len(x):
                    terms = x if centre is None else (x - centre[offset + j]) ** 2
                    low, high = float(x.min()), float(x.max())
                    parts = exact_parts(terms) or [0.0]
                    out += [(offset + j, len(x) if not n else 0, part, low, high) for n, part in enumerate(parts)]
            offset += len(encoder.labels)
        arrays = zip(*out, strict=True) if out else [[] for _ in _PARTIALS_SCHEMA]
        typed = [pa.array(list(a), f.type) for a, f in zip(arrays, _PARTIALS_SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(typed, schema=_PARTIALS_SCHEMA)


def exact_parts(terms: npt.NDArray[np.float64]) -> list[float]:
    """A few floats whose exact sum is that of `terms`, largest first; none if it is 0.

    >>> exact_parts(np.array([2.0**60, 1.0, 2.0**-60]))
    [1.152921504606847e+18, 1.0, 8.673617379884035e-19]
    """
    parts: list[float] = []
    values = terms.tolist()
    while (rest := math.fsum(chain(values, (-part for part in parts)))) != 0:
        parts.append(rest)
    return parts


def _totals(
    raw: DataFrame, numeric: Sequence[tuple[int, GroupEncoder]], centre: npt.NDArray[np.float64] | None, width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count, sum, minimum and maximum of each column, float64 (width,) each; 0 where a column has no value."""
    step = partial(partial_sums, numeric=tuple(numeric), centre=centre)
    found = raw.select(*(raw_column(position) for position, _ in numeric)).mapInArrow(step, _PARTIALS_DDL).toArrow()
    columns, counts, parts, lows, highs = (found[name].to_numpy() for name in _PARTIALS_SCHEMA.names)
    totals = np.zeros((4, width))
    for j in np.unique(columns):
        at = columns == j
        totals[:, j] = counts[at].sum(), math.fsum(parts[at].tolist()), lows[at].min(), highs[at].max()
    return totals[0], totals[1], totals[2], totals[3]
