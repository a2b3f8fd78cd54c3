"""How a fit runs: in one task, or on stages with rows broadcast or routed. None of it changes the result. Driver."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from recsys_spark.als.checkpoint import LakeCheckpoints
from recsys_spark.als.intask import fit_in_task, worth_a_task
from recsys_spark.als.model import FittedModel
from recsys_spark.als.routed import RoutedStages
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.spread import SpreadModel, load_spread_uri, save_spread_uri
from recsys_spark.als.stages import Stages
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.plan import Plan
from recsys_spark.errors import ConfigError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

BROADCAST_LIMIT = 2 << 30
"""Bytes of both sides' rows up to which ``auto`` broadcasts them: the driver, and each executor, hold them all."""

Way = Literal["task", "broadcast", "shuffle"]


class How(NamedTuple):
    """What Params say of running a fit."""

    execution: str  # auto, stages, task
    exchange: str  # auto, broadcast, shuffle
    root: str | None  # where checkpoints go, and rows that no process holds
    every: int  # iterations between checkpoints; below 1: none


def way_of(how: How, plan: Plan, ratings: int, rank: int, cores: int) -> Way:
    """How to run a fit of that size.

    Raises ConfigError where rows are to be routed and there is no place for them.
    """
    rows = len(plan.user.ids) + len(plan.item.ids)
    small = how.execution == "auto" and how.exchange != "shuffle" and worth_a_task(ratings, rows, rank, cores)
    if how.execution == "task" or small:
        return "task"
    large = 4 * rows * (rank + 1) > BROADCAST_LIMIT
    if how.exchange == "shuffle" and how.root is None:
        raise ConfigError(
            "exchange is shuffle: executors write the model's rows, so there has to be a place that all of them reach; "
            "set checkpointDir (or SparkContext.setCheckpointDir)"
        )
    if how.exchange == "auto" and large and how.root is None:
        log.warning(
            "%d rows of rank %d are broadcast, which takes much memory: with a checkpointDir they would be routed",
            rows,
            rank,
        )
    return "shuffle" if how.exchange == "shuffle" or (how.exchange == "auto" and large and how.root) else "broadcast"


def run_fit(
    spark: SparkSession,
    plan: Plan,
    records_of: Callable[[Broadcast[Plan]], RDD[tuple[int, bytes]]],
    ratings: int,
    settings: AlsSettings,
    columns: Columns,
    initial: Any,
    how: How,
) -> FittedModel | SpreadModel:
    """The model of the records' blocks; raises what `train` and `way_of` raise.

    Parameters
    ----------
    records_of : callable
        Makes records as `blocks.build.block_records` does, given the plan with blocks as the fit wants them.
    ratings : int
        How many training ratings there are.
    initial : FittedModel or SpreadModel, optional
    """
    way = way_of(how, plan, ratings, settings.rank, spark.sparkContext.defaultParallelism)
    if isinstance(initial, SpreadModel) and way != "shuffle":
        initial = initial.gathered(spark)
    shared = spark.sparkContext.broadcast(replace(plan, paired=way == "shuffle"))
    try:
        if way == "task":
            return fit_in_task(records_of(shared), shared, settings, columns, initial)
        return _on_stages(spark, shared, records_of(shared), settings, columns, initial, how, way)
    finally:
        shared.destroy()


def _on_stages(
    spark: SparkSession,
    plan: Broadcast[Plan],
    records: RDD[tuple[int, bytes]],
    settings: AlsSettings,
    columns: Columns,
    initial: Any,
    how: How,
    way: Way,
) -> FittedModel | SpreadModel:
    fit = uuid.uuid4().hex
    if way == "shuffle":
        home = f"{(how.root or '').rstrip('/')}/rows-{fit}"
        routed = RoutedStages(spark, plan, records, fit, home, settings.rank)
        try:
            kept = _checkpoints(spark, how, save=save_spread_uri, load=load_spread_uri)
            return train(routed, settings, columns, initial=initial, checkpoints=kept)
        finally:
            routed.close()
    stages = Stages(spark.sparkContext, plan.value, records, fit)
    try:
        return train(stages, settings, columns, initial=initial, checkpoints=_checkpoints(spark, how))
    finally:
        stages.close()


def _checkpoints(spark: SparkSession, how: How, **formats: Any) -> LakeCheckpoints | None:
    if how.root is None or how.every < 1:
        return None
    return LakeCheckpoints(spark, how.root, how.every, **formats)
