"""The step `train`: a model from published blocks; driver. What surrounds a training (tracking) is `experiment`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.spread import SpreadModel
from recsys_spark.blocks.published import PublishedBlocks
from recsys_spark.config import Settings, step_root
from recsys_spark.ml.estimator import BlockALS
from recsys_spark.ml.model import BlockALSModel

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODEL = "model"


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
            estimator = BlockALS.fromSettings(
                settings.train,
                coldStartStrategy="fallback",
                execution=settings.fit.execution,
                exchange=settings.fit.exchange,
                checkpointDir=step_root(settings, "checkpoints"),
                checkpointInterval=settings.fit.checkpoint_every or -1,
            )
            trained.append(estimator.fitBlocks(PublishedBlocks(spark, blocks)))
            trained[0].write().save(f"{draft.path}/{MODEL}")
            return trained[0]

        added = around(train)
        if isinstance(trained[0].trained, SpreadModel) and trained[0].trained.uri:
            lake.delete(spark, trained[0].trained.uri)  # saved with the model now
        fitted = trained[0].trained
        last = fitted.history.to_pylist()[-1] if len(fitted.history) else {}
        kept = next((r for r in fitted.history.to_pylist() if r["iteration"] == fitted.best_iteration), last)
        metrics = {
            "iterations": len(fitted.history),
            "best_iteration": fitted.best_iteration,
            "seconds": sum(fitted.history["seconds"].to_pylist()),
            **{name: kept[name] for name in ("objective", "train_rmse", "validation_rmse") if kept},
        }
        return {
            "stop_reason": fitted.stop_reason,
            "metrics": {name: value for name, value in metrics.items() if value == value},
            **added,
        }

    return lake.publish(
        spark,
        step_root(settings, "train"),
        step="train",
        settings=settings.train.model_dump(mode="json"),
        inputs={"blocks": blocks.manifest.version},
        write=write,
    )
