"""How a fit runs: in one task, or on stages with rows broadcast or routed. None of it changes the result. Driver."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from recsys_spark.als.checkpoint import LakeCheckpoints
from recsys_spark.als.intask import fit_in_task, worth_a_task
from recsys_spark.als.model import FittedModel
from recsys_spark.als.routed import RoutedStages
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.spread import SpreadModel, load_spread_uri, save_spread_uri
from recsys_spark.als.stages import Stages
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.build import row_bytes
from recsys_spark.blocks.source import BlockSource
from recsys_spark.errors import ConfigError

if TYPE_CHECKING:
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


def is_broadcast(rows: float, rank: int) -> bool:
    """Whether ``auto`` broadcasts so many rows of both sides."""
    return rows * row_bytes(rank) <= BROADCAST_LIMIT


def way_of(how: How, source: BlockSource, rank: int, cores: int) -> Way:
    """How to run a fit of that size, which is asked for only where it matters.

    Raises ConfigError where rows are to be routed and there is no place for them.
    """
    if how.execution == "task":
        return "task"
    if how.exchange == "shuffle":
        if how.root is None:
            raise ConfigError(
                "exchange is shuffle: executors write the model's rows, so there has to be a place that all of them "
                "reach; set checkpointDir (or SparkContext.setCheckpointDir)"
            )
        return "shuffle"
    if how.execution == "auto" and worth_a_task(source.ratings, source.rows, rank, cores):
        return "task"
    if how.exchange == "broadcast":
        return "broadcast"
    rows = source.rows
    large = not is_broadcast(rows, rank)
    if large and how.root is None:
        log.warning(
            "%d rows of rank %d are broadcast, which takes much memory: with a checkpointDir they would be routed",
            rows,
            rank,
        )
    return "shuffle" if large and how.root else "broadcast"


def run_fit(
    source: BlockSource, settings: AlsSettings, columns: Columns, initial: Any, how: How
) -> FittedModel | SpreadModel:
    """The model of the source's blocks; raises what `train` and `way_of` raise.

    Parameters
    ----------
    initial : FittedModel or SpreadModel, optional
    """
    spark = source.spark
    way = way_of(how, source, settings.rank, spark.sparkContext.defaultParallelism)
    if way == "shuffle":
        return _routed(source, settings, columns, initial, how)
    if isinstance(initial, SpreadModel):
        initial = initial.gathered(spark)
    shared = spark.sparkContext.broadcast(source.plan)
    try:
        records = source.records(shared)
        if way == "task":
            return fit_in_task(records, shared, settings, columns, initial)
        stages = Stages(spark.sparkContext, source.plan, records, uuid.uuid4().hex)
        try:
            return train(stages, settings, columns, initial=initial, checkpoints=_checkpoints(spark, how))
        finally:
            stages.close()
    finally:
        shared.destroy()


def _routed(source: BlockSource, settings: AlsSettings, columns: Columns, initial: Any, how: How) -> SpreadModel:
    spark, fit = source.spark, uuid.uuid4().hex
    home = f"{(how.root or '').rstrip('/')}/rows-{fit}"
    with source.ranged(settings.rank) as (layout, records, _):
        routed = RoutedStages(spark, layout, records, fit, home, settings.rank)
        try:
            kept = _checkpoints(spark, how, save=save_spread_uri, load=load_spread_uri)
            return train(routed, settings, columns, initial=initial, checkpoints=kept)
        finally:
            routed.close()


def _checkpoints(spark: SparkSession, how: How, **formats: Any) -> LakeCheckpoints | None:
    if how.root is None or how.every < 1:
        return None
    return LakeCheckpoints(spark, how.root, how.every, **formats)
