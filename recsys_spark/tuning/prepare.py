"""The steps before a study, and the data of its folds; driver."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.config import Settings, SplitSettings, step_root
from recsys_spark.errors import ConfigError
from recsys_spark.evaluate.contest import relevance_threshold
from recsys_spark.evaluate.job import choose_classes
from recsys_spark.evaluate.rating import Floats
from recsys_spark.features import job as features_job
from recsys_spark.features.job import read_columns
from recsys_spark.ingest import job as ingest_job
from recsys_spark.ingest import split_job
from recsys_spark.tuning.folds import Features, Fold, collect_ratings, make_folds
from recsys_spark.tuning.lab import Lab

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

MakeFolds = Callable[["pa.Table", Features, int, int], dict[str, Fold]]


@dataclass(frozen=True)
class Inputs:
    """What every part of a study is made from.

    Attributes
    ----------
    settings : with the study's split in place of the pipeline's
    versions : of the split and the features
    """

    settings: Settings
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
class Material:
    """The data of a study on the driver.

    Attributes
    ----------
    settings : those of its inputs, clipping to the scale of the ratings
    classes : values that a rating may take, float64 ascending
    """

    settings: Settings
    folds: dict[str, Fold]
    features: Features
    classes: Floats

    @property
    def relevant(self) -> float:
        """Lowest rating of a relevant item."""
        scale = (float(self.classes[0]), float(self.classes[-1]))
        return relevance_threshold(self.settings.evaluate.ranking, scale)

    def lab(self, spark: SparkSession) -> Lab:
        """Where its fits run."""
        chunk, k = self.settings.tune.chunk, self.settings.ablate.list_length
        return Lab(spark, self.folds, self.features, chunk=chunk, k=k, relevant=self.relevant)


def study_settings(settings: Settings) -> Settings:
    """The settings with the split that a study tests on: random folds under a name of their own."""
    folds, seed = settings.study.folds, settings.study.seed
    split = SplitSettings(name=f"study-{folds}", kind="kfold", folds=folds, seed=seed, validation_share=0.0)
    return settings.model_copy(update={"split": split})


def prepare(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> Inputs:
    """Ingest, split and features, where they are not current.

    Raises
    ------
    DataError
        As the steps.
    """
    chosen = study_settings(settings)
    for step in (ingest_job.run, split_job.run, features_job.run):
        step(spark, chosen, args)
    split = lake.current(spark, split_job.split_root(chosen), "split")
    featured = lake.current(spark, step_root(chosen, "features"), "features")
    return Inputs(chosen, {"split": split.manifest.version, "features": featured.manifest.version})


def load(spark: SparkSession, inputs: Inputs, parts: int = 0, make: MakeFolds = make_folds) -> Material:
    """All folds, on the driver.

    Parameters
    ----------
    parts : in how many the ratings are divided at random beside the outer folds; 0: inner folds
    make : makes folds of ratings, features, and the numbers of outer folds and parts

    Raises
    ------
    DataError
        A fold is empty.
    """
    chosen, study = inputs.settings, inputs.settings.study
    scale = lake.current(spark, step_root(chosen, "ingest"), "ingest").manifest.extra["scale"]
    split = lake.read_table(spark, lake.current(spark, split_job.split_root(chosen), "split").path, split_job.RATINGS)
    features = _features(spark, lake.current(spark, step_root(chosen, "features"), "features").path)
    classes = choose_classes(scale, split)
    parts = parts or study.inner_folds
    ratings = collect_ratings(split, parts, study.seed)
    log.info("study: %d ratings in %d outer folds, %d parts each", len(ratings), study.folds, parts)
    clip = chosen.train.clip or (float(classes[0]), float(classes[-1]))
    return Material(
        settings=chosen.model_copy(update={"train": chosen.train.model_copy(update={"clip": clip})}),
        folds=make(ratings, features, study.folds, parts),
        features=features,
        classes=classes,
    )


def storage_url(spark: SparkSession, settings: Settings) -> str:
    """Where Optuna keeps trials: ``tune.storage``, else SQLite in the workdir.

    Raises
    ------
    ConfigError
        The workdir is not on this machine.
    """
    if settings.tune.storage:
        return settings.tune.storage
    home = step_root(settings, "trials")
    local = lake.local_path(spark, home)
    if local is None:
        raise ConfigError(
            f"{home} is not on this machine's disk, so trials cannot be kept there in SQLite: set tune.storage to the "
            "URL of a database, such as postgresql://host/name"
        )
    local.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{local}/optuna.db"


def _features(spark: SparkSession, path: str) -> Features:
    rows = []
    for side in (USERS, ITEMS):
        name = SIDE_NAMES[side]
        table = lake.read_table(spark, path, name).select(name, "indices", "values").toArrow()
        rows.append(table.rename_columns(["id", "indices", "values"]).sort_by("id").combine_chunks())
    columns = [read_columns(spark, path, SIDE_NAMES[side]) for side in (USERS, ITEMS)]
    return Features((rows[USERS], rows[ITEMS]), (columns[USERS], columns[ITEMS]))
