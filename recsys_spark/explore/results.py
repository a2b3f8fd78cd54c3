"""What the jobs have left in a lake, to be read; driver."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

from recsys_spark import lake, schema
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.evaluate.report import MODEL, title
from recsys_spark.ingest.split_job import RATINGS, split_root
from recsys_spark.ingest.splits import parts
from recsys_spark.ml.job import model_path
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.score import days
from recsys_spark.session import build_session
from recsys_spark.summary import sample_recommendations

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession


def open_results(workdir: str, dataset: str, split: str = "folds") -> Results:
    """The current results of a data set; nothing is read yet.

    Parameters
    ----------
    workdir, dataset, split : as the jobs were given them (``--workdir``, ``--dataset``, ``split.name``)
    """
    settings = load_settings([], [f"split.name={split}"], {"workdir": workdir, "dataset": dataset})
    spark = build_session("recsys_spark notebook")
    spark.sparkContext.setLogLevel("ERROR")  # warnings of the JVM would stand between the figures
    return Results(spark, settings)


class Results:
    """Tables, model and metrics of a data set, each read when it is first asked for.

    Every property raises NotPublishedError where the job that makes it has not run, and names the job.
    """

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings = spark, settings

    def published(self, step: str) -> lake.Published:
        """The current version of a step."""
        return lake.current(self.spark, step_root(self.settings, step), step)

    @cached_property
    def facts(self) -> dict[str, float]:
        """What the ingest counted: ratings, users, items, density, rejected …"""
        return dict(self.published("ingest").manifest.extra["metrics"])

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest rating of the release, or where it has no scale, that occurs."""
        known = self.published("ingest").manifest.extra["scale"]
        if known["low"] is not None and known["high"] is not None:
            return known["low"], known["high"]
        ends = self.ratings.selectExpr(f"min({schema.RATING})", f"max({schema.RATING})").first()
        assert ends is not None
        return float(ends[0]), float(ends[1])

    @cached_property
    def ratings(self) -> DataFrame:
        """(user, item, rating, timestamp)."""
        return lake.read_table(self.spark, self.published("ingest").path, "ratings")

    @cached_property
    def movies(self) -> DataFrame:
        """(item, title, year, genres)."""
        return lake.read_table(self.spark, self.published("ingest").path, "movies")

    @cached_property
    def training(self) -> DataFrame:
        """The ratings that the model was trained on: (user, item, rating)."""
        split = lake.current(self.spark, split_root(self.settings), "split")
        chosen = self.published("blocks").manifest.settings["split"]
        labelled = parts(lake.read_table(self.spark, split.path, RATINGS), **chosen)
        return labelled.where(labelled[schema.PART] == schema.TRAIN).select(schema.USER, schema.ITEM, schema.RATING)

    @cached_property
    def user_features(self) -> DataFrame:
        """(user, indices, values) of the users that have features."""
        return lake.read_table(self.spark, self.published("features").path, schema.USER)

    @cached_property
    def model(self) -> BlockALSModel:
        """The trained model; unknown ids get the known side's bias."""
        return BlockALSModel.load(model_path(self.published("train")))

    @cached_property
    def run_id(self) -> str | None:
        """The MLflow run of the training, None where it was not tracked."""
        return self.published("train").manifest.extra.get("run_id")

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The evaluation's numbers by name, as ``metrics.json`` has them."""
        return dict(
            json.loads(lake.read_text(self.spark, f"{self.published('evaluate').path}/metrics.json"))["metrics"]
        )

    @cached_property
    def bins(self) -> pd.DataFrame:
        """Errors by predictor and popularity of the item: (predictor, bin, low, n, rmse, mae, accuracy)."""
        return lake.collect_table(self.spark, self.published("evaluate").path, "bins").to_pandas()

    @cached_property
    def scores(self) -> pd.DataFrame:
        """What the model and the baselines reach on all test rows, the best first: (rmse, mae, accuracy) by title."""
        import pandas as pd

        names = list(dict.fromkeys(self.bins["predictor"]))
        ends = {name: "" if name == MODEL else f"_{name}" for name in names}
        measured = {m: [self.metrics[f"{m}{ends[name]}"] for name in names] for m in ("rmse", "mae", "accuracy")}
        return pd.DataFrame(measured, [title(name) for name in names]).sort_values("rmse")

    @cached_property
    def predictions(self) -> DataFrame:
        """The test ratings: (user, item, rating, prediction, train_count), and a column for each baseline."""
        return lake.read_table(self.spark, self.published("evaluate").path, "predictions")

    @cached_property
    def recommendations(self) -> DataFrame:
        """The latest day's (user, rank, item, score, run_date)."""
        return days.read(days.score_path(self.settings), spark=self.spark)

    def sample(self) -> pd.DataFrame:
        """Three users of median activity, what they liked and what they get, by title."""
        return sample_recommendations(self.spark, self.settings, self.recommendations)
