"""The job "generate": settings to a published release."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from recsys_spark.cli import JobResult
from recsys_spark.config import GenerateSettings, Settings, step_root
from recsys_spark.errors import ConfigError
from recsys_spark.generate.preset import PRESETS, find_preset
from recsys_spark.generate.release import generate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_METRICS = (
    "ratings",
    "users",
    "films",
    "rated_films",
    "floor_rmse",
    "user_oracle",
    "item_oracle",
    "oracle_rmse",
    "rating_mean",
    "rating_std",
    "top_film",
    "top_user",
)


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Generate the data set that the settings ask for. Driver.

    Raises
    ------
    ConfigError
        No such preset, or `dataset` and `generate.preset` name two different ones.
    """
    preset = find_preset(preset_name(settings))
    root = settings.generate.out or step_root(settings, "raw")
    published = generate(spark, preset, settings.generate.seed, root)
    done = "was there already" if published.reused else "written"
    log.info("%s ratings of preset %s: %s at %s", f"{preset.ratings:,}", preset.name, done, published.path)
    extra = published.manifest.extra
    return JobResult(metrics={name: extra[name] for name in _METRICS}, outputs={"path": published.path})


def preset_name(settings: Settings) -> str:
    """The preset meant: `dataset` where that is a preset's name, else `generate.preset`.

    Raises
    ------
    ConfigError
        Both are given and differ: the release would lie under another data set's name.
    """
    asked, default = settings.generate.preset, GenerateSettings().preset
    if settings.dataset not in PRESETS:
        return asked
    if asked not in (default, settings.dataset):
        raise ConfigError(
            f"dataset is {settings.dataset!r} and generate.preset {asked!r}: "
            f"say --dataset {asked}, or --dataset with a name of your own"
        )
    return settings.dataset
