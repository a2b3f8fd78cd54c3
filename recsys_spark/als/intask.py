"""A whole fit inside one Spark task: for data so small that stages would cost more than arithmetic.

The same loop over the same blocks as on the driver, and so the same bits. Folds and trials can be mapped over tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from recsys_spark.als import history
from recsys_spark.als.inprocess import InProcess
from recsys_spark.als.model import FittedModel
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.layout import Block
from recsys_spark.errors import RecsysError
from recsys_spark.worker import keep_loaded

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast

    from recsys_spark.blocks.plan import Plan

log = logging.getLogger(__name__)

# Seconds of a pass on one core: for a multiplication of the Gram, and a row's own work for each entry of its system.
_SECONDS_A_FLOP, _SECONDS_AN_ENTRY = 3e-11, 1.2e-9
# What an iteration on stages costs beyond arithmetic.
_SECONDS_OF_STAGES = 0.3


def worth_a_task(ratings: int, rows: int, rank: int, cores: int) -> bool:
    """Whether an iteration takes less time on one core than on all of them with Spark's stages between."""
    alone = 2 * ratings * (rank + 1) ** 2 * _SECONDS_A_FLOP + rows * (rank + 1) ** 2 * _SECONDS_AN_ENTRY
    return alone <= alone / max(cores, 1) + _SECONDS_OF_STAGES


def fit_in_task(
    records: RDD[tuple[int, Block]],
    plan: Broadcast[Plan],
    settings: AlsSettings,
    columns: Columns,
    initial: FittedModel | None = None,
) -> FittedModel:
    """`train` in one task that gets all records. Driver; raises what `train` raises."""
    fits = records.coalesce(1).mapPartitions(
        partial(_fit, plan=plan, settings=settings, columns=columns, initial=initial)
    )
    result = fits.setName("fit in one task").collect()[0]
    if isinstance(result, Exception):
        raise result
    for iteration in history.iterations(result.history):
        log.info(iteration.line(settings.max_iter))
    return result


def _fit(
    records: Iterable[tuple[int, Block]],
    plan: Broadcast[Plan],
    settings: AlsSettings,
    columns: Columns,
    initial: FittedModel | None,
) -> Iterator[FittedModel | Exception]:
    executor = InProcess(plan.value, [block for _, block in records])
    try:
        yield train(executor, settings, columns, initial=initial)
    except RecsysError as problem:  # as it is: Spark would wrap it in a Java exception, and try again
        yield problem
    keep_loaded("fit_in_task")
