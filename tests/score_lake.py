"""A lake with a model of random numbers and ratings of several days, for the tests of scheduled scoring."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.model_io import save_model
from recsys_spark.config import Settings, step_root
from recsys_spark.schema import MOVIES_DDL, RATINGS_DDL
from tests.model_factory import random_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FRIDAY, SATURDAY, SUNDAY = date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 22)
Rating = tuple[int, int, float, int]  # user, item, stars, hour of 2026-11-19 (above 24: the days after)

OLD: list[Rating] = [(100, 7, 4.0, 1), (103, 9, 2.0, 2), (103, 65, 5.0, 3), (5, 7, 1.0, 4), (6, 4242, 3.0, 5)]
NEW: list[Rating] = [(103, 11, 4.5, 25), (9, 13, 5.0, 26), (5, 9, 4.0, 27)]
"""User 103 rates on, 9 is new, 5 (folded in before) rates on; 6 knows only a film that the model does not."""


def settings_for(folder: Path, day: date, **score: Any) -> Settings:
    return Settings(dataset="tiny", workdir=f"file:{folder}/lake", score={"n": 4, "run_date": day, **score})


def ratings_frame(spark: SparkSession, ratings: Sequence[Rating]) -> DataFrame:
    start = datetime(2026, 11, 19, tzinfo=timezone.utc).timestamp()
    rows = [(u, i, r, datetime.fromtimestamp(start + 3600 * hour, timezone.utc)) for u, i, r, hour in ratings]
    return spark.createDataFrame(rows, RATINGS_DDL)


def ingest(spark: SparkSession, settings: Settings, ratings: Sequence[Rating]) -> None:
    """Make these the current ratings. Films are of 2000, 2001, … and three genres in turn; the last has neither."""
    items = random_model().item.ids.to_pylist()
    genres = ["Drama", "Comedy", "War"]
    films = [(item, f"film {item}", 2000 + at, [genres[at % 3]]) for at, item in enumerate(items[:-1])]

    def write(draft: lake.Draft) -> None:
        draft.write_table(ratings_frame(spark, ratings), "ratings")
        draft.write_table(spark.createDataFrame([*films, (items[-1], "odd", None, [])], MOVIES_DDL), "movies")

    inputs = {"release": lake.fingerprint(ratings)}
    lake.publish(spark, step_root(settings, "ingest"), step="ingest", settings={}, inputs=inputs, write=write)


def train(spark: SparkSession, settings: Settings, folder: Path, seed: int = 0) -> None:
    """Make a model of random numbers the current one."""
    saved = folder / f"saved-{seed}"
    save_model(random_model(seed=seed), saved)
    copy = f"{step_root(settings, 'train')}"
    inputs = {"seed": str(seed)}
    lake.publish(
        spark, copy, step="train", settings={}, inputs=inputs,
        write=lambda draft: lake.copy_from_local(spark, saved, f"{draft.path}/model/fitted"),
    )  # fmt: skip
