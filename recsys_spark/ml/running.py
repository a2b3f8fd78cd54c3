"""How a fit runs: in one task, or on stages, rows broadcast, routed or both. None of it changes the result. Driver."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from recsys_spark.als.checkpoint import LakeCheckpoints
from recsys_spark.als.intask import fit_in_task, worth_a_task
from recsys_spark.als.model import FittedModel
from recsys_spark.als.routed import RoutedStages
from recsys_spark.als.settings import AlsSettings, Exchange
from recsys_spark.als.spread import SpreadModel, load_spread_uri, save_spread_uri
from recsys_spark.als.stages import Stages
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.build import row_bytes
from recsys_spark.blocks.layout import SIDE_NAMES
from recsys_spark.blocks.source import ROUTED, BlockSource, shared_side
from recsys_spark.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

BROADCAST_LIMIT = 2 << 30
"""Bytes of rows up to which ``auto`` broadcasts them: the driver, and each executor, hold them all."""
_RESULTS = 0.9
"""The share of spark.driver.maxResultSize that a side's rows may be: they come to the driver as results of tasks."""


class How(NamedTuple):
    """What Params say of running a fit."""

    execution: str  # auto, stages, task
    exchange: str  # auto, broadcast, mixed, shuffle
    root: str | None  # where checkpoints go, and rows that no process holds
    every: int  # iterations between checkpoints; below 1: none


def exchange_by_size(rows: Sequence[float], rank: int, results: float = math.inf) -> Exchange:
    """What ``auto`` stands for: both sides' rows are broadcast where they are few, else those of the smaller side.

    Parameters
    ----------
    rows : of users, items
    results : bytes that tasks of one stage may return to the driver
    """
    sizes = [row_bytes(rank) * n for n in rows]
    if sum(sizes) <= BROADCAST_LIMIT and max(sizes) <= _RESULTS * results:
        return "broadcast"
    return "mixed" if min(sizes) <= min(BROADCAST_LIMIT, _RESULTS * results) else "shuffle"


def way_of(
    how: How, source: BlockSource, rank: int, cores: int, results: float = math.inf
) -> Exchange | Literal["task"]:
    """How to run a fit of that size, which is asked for only where it matters; ``results`` as `exchange_by_size`.

    Raises ConfigError where rows are to be routed and there is no place for them.
    """
    if how.execution == "task":
        return "task"
    if how.exchange in ROUTED:
        if how.root is None:
            raise ConfigError(
                f"exchange is {how.exchange}: executors write the model's rows, so there has to be a place that all of "
                "them reach; set checkpointDir (or SparkContext.setCheckpointDir)"
            )
        return cast(Exchange, how.exchange)
    if how.execution == "auto" and worth_a_task(source.ratings, sum(source.rows), rank, cores):
        return "task"
    if how.exchange == "broadcast":
        return "broadcast"
    fitting = exchange_by_size(source.rows, rank, results)
    if fitting != "broadcast" and how.root is None:
        log.warning(
            "%d rows of rank %d are broadcast, which takes much memory: with a checkpointDir they would be routed",
            sum(source.rows),
            rank,
        )
        return "broadcast"
    return fitting


def run_fit(
    source: BlockSource, settings: AlsSettings, columns: Columns, initial: Any, how: How
) -> FittedModel | SpreadModel:
    """The model of the source's blocks; raises what `train` and `way_of` raise.

    Parameters
    ----------
    initial : FittedModel or SpreadModel, optional
    """
    spark = source.spark
    way = way_of(how, source, settings.rank, spark.sparkContext.defaultParallelism, _results(spark))
    if way in ROUTED:
        return _routed(source, settings, columns, initial, how, shared_side(way, source))
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


def _routed(
    source: BlockSource, settings: AlsSettings, columns: Columns, initial: Any, how: How, shared: int | None
) -> SpreadModel:
    told = "" if shared is None else f", but {SIDE_NAMES[shared]}s' are broadcast"
    log.info("rows go from block to block%s", told)
    spark, fit = source.spark, uuid.uuid4().hex
    home = f"{(how.root or '').rstrip('/')}/rows-{fit}"
    with source.ranged(settings.rank, shared) as (layout, records, _):
        routed = RoutedStages(spark, layout, records, fit, home, settings.rank, shared)
        try:
            kept = _checkpoints(spark, how, save=save_spread_uri, load=load_spread_uri)
            return train(routed, settings, columns, initial=initial, checkpoints=kept)
        finally:
            routed.close()


def _results(spark: SparkSession) -> float:
    """Bytes that Spark lets the tasks of a stage return to the driver."""
    given = spark.sparkContext._jsc.sc().conf().getSizeAsBytes("spark.driver.maxResultSize", "1g")
    return given or math.inf


def _checkpoints(spark: SparkSession, how: How, **formats: Any) -> LakeCheckpoints | None:
    if how.root is None or how.every < 1:
        return None
    return LakeCheckpoints(spark, how.root, how.every, **formats)
