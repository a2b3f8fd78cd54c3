"""The step `evaluate`: the trained model and the baselines on the test fold; driver."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import DataError, EnvironmentProblem
from recsys_spark.evaluate.rating import Floats, rating_classes
from recsys_spark.evaluate.report import MODEL, Report
from recsys_spark.ml.job import model_path
from recsys_spark.schema import ITEM, PART, PREDICTION, RATING, TEST, TRAIN, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recsys_spark.als.model import FittedModel
    from recsys_spark.als.spread import SpreadModel
    from recsys_spark.ml.model import BlockALSModel

log = logging.getLogger(__name__)

_MAX_CLASSES = 101
"""Most distinct ratings that are taken for classes: a scale by hundredths, or stars; beyond, accuracy says nothing."""


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish the tables `predictions` and `bins`, ``metrics.json``, ``results.md`` and ``figures/*.png``.

    Raises
    ------
    NotPublishedError
        The data set is not ingested or split, or no model is trained.
    DataError
        The model is of another split or test fold, there is no test row, or a prediction is missing.
    """
    from recsys_spark.ingest.split_job import RATINGS, split_root
    from recsys_spark.ml.model import BlockALSModel

    ingested = lake.current(spark, step_root(settings, "ingest"), "ingest")
    split = lake.current(spark, split_root(settings), "split")
    trained = lake.current(spark, step_root(settings, "train"), "train")
    choice = settings.split.model_dump(mode="json", include={"test_fold", "validation_share", "seed"})
    check_lineage(lake.current(spark, step_root(settings, "blocks"), "blocks"), split, trained, choice)
    published = lake.publish(
        spark,
        step_root(settings, "evaluate"),
        step="evaluate",
        settings={
            "evaluate": settings.evaluate.model_dump(mode="json"),
            "split": choice,
            "biases": settings.train.model_dump(mode="json", exclude={"rank"}),
        },
        inputs={"split": split.manifest.version, "train": trained.manifest.version},
        write=lambda draft: _write(
            draft,
            lake.read_table(spark, split.path, RATINGS),
            BlockALSModel.load(model_path(trained)),
            settings,
            ingested.manifest.extra["scale"],
        ),
    )
    extra = published.manifest.extra
    log.info("test fold %d of split %s\n%s", settings.split.test_fold, settings.split.name, extra["results"])
    outputs = {
        "evaluate": published.path,
        "metrics": f"{published.path}/metrics.json",
        "figures": f"{published.path}/figures",
        "predictions": published.table("predictions"),
    }
    metrics = {name: float("nan") if value is None else value for name, value in extra["metrics"].items()}
    return JobResult(metrics=metrics, outputs=outputs)


def check_lineage(
    blocks: lake.Published, split: lake.Published, trained: lake.Published, choice: Mapping[str, Any]
) -> None:
    """Refuse a model whose training rows may be among the test rows.

    Parameters
    ----------
    choice : the settings that choose training, validation and test rows of the split

    Raises
    ------
    DataError
        The model is not of these blocks, or the blocks are not of this choice from this split.
    """
    found = blocks.manifest
    if found.inputs.get("split") != split.manifest.version or found.settings.get("split") != choice:
        raise DataError(
            f"the current blocks, and so the model, are of another split or test fold ({found.settings.get('split')}, "
            f"wanted {dict(choice)}): run jobs/blocks.py and jobs/train.py with the same split settings first"
        )
    if trained.manifest.inputs.get("blocks") != found.version:
        raise DataError("the current model was trained on other blocks than the current ones: run jobs/train.py first")


def choose_classes(scale: Mapping[str, float | None], train: DataFrame) -> Floats:
    """The values that a rating may take: the scale's own, or where it has no step, those that occur in training.

    Raises
    ------
    DataError
        Too many different ratings to be classes.
    """
    import numpy as np
    from pyspark.sql import functions as F

    low, high, step = scale["low"], scale["high"], scale.get("step")
    if low is not None and high is not None and step:
        return rating_classes(low, high, step)
    found = train.select(F.col(RATING).cast("double").alias("r")).distinct().limit(_MAX_CLASSES + 1).collect()
    if len(found) > _MAX_CLASSES:
        raise DataError(
            f"more than {_MAX_CLASSES} different ratings in training, and the scale {low} to {high} has no step: "
            "there are no rating classes to measure accuracy over; round the ratings"
        )
    return np.sort(np.array([row["r"] for row in found], np.float64))


def _write(
    draft: lake.Draft,
    ratings: DataFrame,
    model: BlockALSModel,
    settings: Settings,
    scale: Mapping[str, Any],
) -> dict[str, Any]:
    from recsys_spark.evaluate.aggregate import class_counts, require_predictions, sums_by_bin
    from recsys_spark.evaluate.contest import describe, ranking_metrics
    from recsys_spark.ingest.splits import parts

    spark, chosen = ratings.sparkSession, settings.split
    split = parts(ratings, chosen.test_fold, chosen.validation_share, chosen.seed)
    train = split.where(split[PART] == TRAIN).select(USER, ITEM, RATING).persist()
    try:
        classes = choose_classes(scale, train)
        test = split.where(split[PART] == TEST).select(USER, ITEM, RATING)
        draft.write_table(_predict(test, train, model, settings, scale, f"{draft.path}/_checkpoints"), "predictions")
        ranked, protocol, chosen_lists = {}, "", settings.evaluate.ranking
        if chosen_lists.k and draft.tables["predictions"].rows:
            known, ends = split.where(split[PART] != TEST).select(USER, ITEM), (float(classes[0]), float(classes[-1]))
            ranked = ranking_metrics(model.fitted, known, train, test, chosen_lists, ends)
            protocol = describe(chosen_lists, ends, ranked)
    finally:
        train.unpersist()
    if not draft.tables["predictions"].rows:
        raise DataError(f"fold {chosen.test_fold} of the split {chosen.name} has no test rows")
    predictions = spark.read.parquet(f"{draft.path}/predictions")
    sums = sums_by_bin(predictions, [PREDICTION, *settings.evaluate.baselines], classes, settings.evaluate.bins)
    for name, of_bins in sums.items():
        require_predictions(predictions, name, of_bins)
    report = Report({MODEL: sums.pop(PREDICTION), **sums}, settings.evaluate.bins, ranked, protocol)
    bins = spark.createDataFrame(
        report.bins(), "predictor string, bin string, low int, n bigint, rmse double, mae double, accuracy double"
    )
    draft.write_table(bins.coalesce(1), "bins")
    draft.write_text("metrics.json", report.to_json())
    draft.write_text("results.md", report.to_markdown())
    counts = class_counts(predictions, [RATING, PREDICTION], classes)
    _draw(spark, draft, report, model.trained, classes, counts[RATING], counts[PREDICTION])
    return {"metrics": report.finite_metrics(), "results": report.to_markdown(), "classes": classes.tolist()}


def _predict(
    test: DataFrame,
    train: DataFrame,
    model: BlockALSModel,
    settings: Settings,
    scale: Mapping[str, Any],
    checkpoints: str,
) -> DataFrame:
    """The test rows with `train_count`, `prediction` and a column for each baseline."""
    from recsys_spark.evaluate.aggregate import with_train_counts
    from recsys_spark.evaluate.baselines import add_baselines

    scored = model.copy().setColdStartStrategy("fallback").setPredictionCol(PREDICTION).transform(test)
    return add_baselines(
        with_train_counts(scored, train).select(USER, ITEM, RATING, PREDICTION, "train_count"),
        train,
        settings.evaluate.baselines,
        settings=settings.train,
        pyspark=settings.evaluate.pyspark,
        scale=(scale["low"], scale["high"]),
        checkpoints=checkpoints,
    )


def _draw(
    spark: SparkSession,
    draft: lake.Draft,
    report: Report,
    fitted: FittedModel | SpreadModel,
    classes: Floats,
    ratings: Sequence[int],
    predictions: Sequence[int],
) -> None:
    """Figures are drawn on the driver's disk, and copied to where the lake is."""
    try:
        from recsys_spark.evaluate import figures
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"figures need {error.name}: run `pip install recsys-spark[plots]`") from error
    drawn = {
        "learning_curve": figures.learning_curve(fitted.history, fitted.best_iteration),
        "rating_histogram": figures.rating_histogram(classes.tolist(), ratings, predictions),
        "popularity_bins": figures.popularity_bins(report.labels, report.rows, report.rmse()),
    }
    with tempfile.TemporaryDirectory(prefix="recsys-spark-figures-") as scratch:
        folder = Path(scratch) / "figures"
        figures.save_figures(drawn, folder)
        lake.copy_from_local(spark, folder, f"{draft.path}/figures")
