"""Sums of many blocks added on executors, where together they are too much for the driver.

They are integers, so that the order in which they are added changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from recsys_spark.als.meter import Done

LIMIT = 256 << 20
"""Bytes of sums that the driver adds up itself: a quarter of Spark's own limit for the results of a job."""


def groups_for(results: int, each: int) -> int:
    """How many sums are left for the driver, of so many results of so many bytes each; 0: all, it adds them itself."""
    if results * each <= LIMIT:
        return 0
    return max(1, min(math.isqrt(results), LIMIT // each))


def by_group(
    index: int,
    elements: Iterable[Any],
    task: Callable[[Iterable[Any]], Iterable[Any]],
    partitions: frozenset[int],
    groups: int,
) -> Iterator[tuple[int, Any]]:
    """A task's results over one of the wanted partitions, with the group that they are added in. Executor."""
    return ((index % groups, result) for result in (task(elements) if index in partitions else ()))


def added(elements: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """A group's results: the first with the sums of all, the others with none. Executor.

    What is no result, or one of a block that failed, stays as it is.
    """
    first: Done | None = None
    for _, found in elements:
        if not isinstance(found, Done) or found.result.sums.failed >= 0:
            yield found
        elif first is None:
            first = found
        else:
            total = first.result.sums
            for whole, part in ((total.normal, found.result.sums.normal), (total.right, found.result.sums.right)):
                whole += part
            yield found._replace(result=None)
    if first is not None:
        yield first
