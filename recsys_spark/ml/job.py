"""The step `train`: a model from published blocks; driver. What surrounds a training (tracking) is `experiment`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.model import FitFacts
from recsys_spark.als.spread import SpreadModel
from recsys_spark.blocks.published import PublishedBlocks
from recsys_spark.config import Settings, step_root
from recsys_spark.ml.estimator import BlockALS
from recsys_spark.ml.model import BlockALSModel

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MODEL = "model"


def estimator_of(settings: Settings) -> BlockALS:
    """The estimator of what is configured; checkpoints go to the lake."""
    return BlockALS.fromSettings(
        settings.train,
        coldStartStrategy="fallback",
        execution=settings.fit.execution,
        exchange=settings.fit.exchange,
        checkpointDir=step_root(settings, "checkpoints"),
        checkpointInterval=settings.fit.checkpoint_every or -1,
    )


def model_path(trained: lake.Published) -> str:
    """Where the step's version has its model, for `BlockALSModel.load`."""
    return f"{trained.path}/{_MODEL}"


def fit_metrics(fitted: FitFacts) -> dict[str, float]:
    """What a fit says of itself: iterations, seconds, and J and RMSEs of the iteration that was kept; no NaN."""
    history = fitted.history.to_pylist()
    kept = next((row for row in history if row["iteration"] == fitted.best_iteration), history[-1] if history else {})
    metrics = {
        "iterations": len(history),
        "best_iteration": fitted.best_iteration,
        "seconds": sum(row["seconds"] for row in history),
        **{name: kept[name] for name in ("objective", "train_rmse", "validation_rmse") if kept},
    }
    return {name: value for name, value in metrics.items() if value == value}


def train_published(
    spark: SparkSession, settings: Settings, around: Callable[[Callable[[], BlockALSModel]], dict[str, Any]]
) -> lake.Published:
    """Publish the model of the current blocks, unless the same one is there already.

    Parameters
    ----------
    around : callable
        Called only where there is something to train, with a function that trains; what it returns is added to the
        manifest's ``extra``.

    Raises
    ------
    NotPublishedError
        The blocks have not been built.
    FitError, ConfigError
        As `als.train.train`.
    """
    blocks = lake.current(spark, step_root(settings, "blocks"), "blocks")

    def write(draft: lake.Draft) -> dict[str, Any]:
        trained: list[BlockALSModel] = []

        def train() -> BlockALSModel:
            trained.append(estimator_of(settings).fitBlocks(PublishedBlocks(spark, blocks)))
            trained[0].write().save(f"{draft.path}/{_MODEL}")
            return trained[0]

        added = around(train)
        if isinstance(trained[0].trained, SpreadModel) and trained[0].trained.uri:
            lake.delete(spark, trained[0].trained.uri)  # saved with the model now
        fitted = trained[0].trained
        return {"stop_reason": fitted.stop_reason, "metrics": fit_metrics(fitted), **added}

    return lake.publish(
        spark,
        step_root(settings, "train"),
        step="train",
        settings=settings.train.model_dump(mode="json"),
        inputs={"blocks": blocks.manifest.version},
        write=write,
    )
