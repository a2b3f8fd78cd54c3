"""Recommendations in Spark, and the job that publishes them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from leaks import persisted
from recsys_spark import lake
from recsys_spark.als.foldin import fold_in, merged
from recsys_spark.als.model import FittedModel
from recsys_spark.als.model_io import save_model
from recsys_spark.als.model_uri import load_model_uri, save_model_uri
from recsys_spark.blocks.layout import USERS
from recsys_spark.config import Settings, step_root
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.kernels.topk import SeenItems
from recsys_spark.schema import RATINGS_DDL, RECOMMENDATIONS_DDL
from recsys_spark.score.days import day_root, score_path
from recsys_spark.score.finder import Ranking
from recsys_spark.score.job import run
from recsys_spark.score.recommend import model_users, recommend
from tests.model_factory import random_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAY = date(2024, 2, 29)
NOBODY = argparse.Namespace()
RATINGS = [(100, 7), (100, 9), (103, 65), (5, 7), (5, 11), (5, 4242)]  # user 5 and item 4242 are unknown to the model


def ratings_of(spark: SparkSession) -> DataFrame:
    then = datetime(2020, 1, 1, tzinfo=timezone.utc)
    return spark.createDataFrame([(user, item, 4.0, then) for user, item in RATINGS], RATINGS_DDL)


def expected(model: FittedModel, n: int, users: list[int], seen: list[tuple[int, int]]) -> set[tuple]:
    """The model's own top-N, user by user."""
    rows = set()
    for user in users:
        known = [item for who, item in seen if who == user]
        items, scores = model.top_n(
            pa.array([user]), n, seen=SeenItems.of([model.item.index(pa.array(known, pa.int64())).tolist()])
        )
        places = zip(items[0], scores[0], strict=True)
        rows |= {(user, r + 1, model.item.ids[i].as_py(), float(s)) for r, (i, s) in enumerate(places) if i >= 0}
    return rows


def with_folded(model: FittedModel, ratings: list[tuple[int, int]]) -> FittedModel:
    """The model with those folded in who rated and whom it was not trained on."""
    known = set(model.user.ids.filter(pa.array(model.user.counts > 0)).to_pylist())
    rated = [(user, item) for user, item in ratings if user not in known]
    table = pa.table({"id": [u for u, _ in rated], "other": [i for _, i in rated]})
    folded = fold_in(model, USERS, table.append_column("rating", pa.array([4.0] * len(rated), pa.float32())))
    return replace(model, user=merged(model.user, folded))


def rows_of(df: DataFrame) -> set[tuple]:
    return {(row.user, row.rank, row.item, row.score) for row in df.collect()}


def test_recommends_to_the_model_s_users_and_those_who_have_seen_something(spark: SparkSession) -> None:
    from chispa.schema_comparer import assert_schema_equality
    from pyspark.sql.types import StructType

    model = random_model()
    result = recommend(spark, model, None, ratings_of(spark), Ranking(4), DAY)
    assert_schema_equality(result.schema, StructType.fromDDL(RECOMMENDATIONS_DDL), ignore_nullable=True)
    assert rows_of(result) == expected(model, 4, [5, *model.user.ids.to_pylist()], RATINGS)


def test_recommends_to_the_users_asked_for_alone(spark: SparkSession) -> None:
    model = random_model()
    users = spark.createDataFrame([(103, "x"), (103, "y"), (None, "z"), (99, "w")], "user int, other string")
    assert rows_of(recommend(spark, model, users, ratings_of(spark), Ranking(2), DAY)) == expected(
        model, 2, [103, 99], RATINGS
    )
    assert rows_of(recommend(spark, model, users, None, Ranking(2), DAY)) == expected(model, 2, [103, 99], [])
    assert rows_of(recommend(spark, model, None, None, Ranking(1), DAY)) == expected(
        model, 1, model.user.ids.to_pylist(), []
    )


def test_a_broadcast_stays_the_caller_s(spark: SparkSession) -> None:
    model = random_model(string_ids=True)
    shared = spark.sparkContext.broadcast(model)
    users = spark.createDataFrame([("u0100",)], "user string")
    assert [row.rank for row in recommend(spark, shared, users, None, Ranking(2), DAY).collect()] == [1, 2]
    assert recommend(spark, shared, users, None, Ranking(3), DAY).count() == 3
    shared.destroy()


def test_refuses_tables_without_the_columns_and_a_senseless_number(spark: SparkSession) -> None:
    users = model_users(spark, random_model())
    with pytest.raises(DataError, match=r"no column 'user' \(of the user\) in the data, which have member"):
        recommend(spark, random_model(), users.withColumnRenamed("user", "member"), None, Ranking(2), DAY)
    with pytest.raises(DataError, match=r"no column 'item' \(of the item\) in the data, which have user"):
        recommend(spark, random_model(), None, users, Ranking(2), DAY)
    with pytest.raises(DataError, match="must be at least 1, found 0"):
        recommend(spark, random_model(), None, None, Ranking(0), DAY)


def test_loading_a_model_that_is_not_there(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(
        NotPublishedError, match=r"no saved model at .*/none \(it holds no model.json\); run jobs/train.py"
    ):
        load_model_uri(spark, f"file:{tmp_path}/none")


def test_a_model_that_lacks_a_file_is_named_by_where_it_is(spark: SparkSession, tmp_path: Path) -> None:
    save_model_uri(spark, random_model(), f"file:{tmp_path}/m")
    (tmp_path / "m" / "itemFactors.parquet").unlink()
    words = rf"^file:{tmp_path}/m/itemFactors.parquet is absent: the saved model is incomplete; remove it, and train"
    with pytest.raises(DataError, match=words):
        load_model_uri(spark, f"file:{tmp_path}/m")


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    """A lake in which ratings are ingested and a model is trained."""
    settings = Settings(dataset="tiny", workdir=f"file:{tmp_path}/lake", score={"n": 4, "run_date": DAY})
    save_model(random_model(), tmp_path / "saved")

    def write_ratings(draft: lake.Draft) -> None:
        draft.write_table(ratings_of(spark), "ratings")

    def write_model(draft: lake.Draft) -> None:
        lake.copy_from_local(spark, tmp_path / "saved", f"{draft.path}/model/fitted")

    lake.publish(spark, step_root(settings, "ingest"), step="ingest", settings={}, inputs={}, write=write_ratings)
    lake.publish(spark, step_root(settings, "train"), step="train", settings={}, inputs={}, write=write_model)
    return settings


def test_the_job_publishes_recommendations_for_everyone(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    before = persisted(spark)
    result = run(spark, settings, NOBODY)
    model = with_folded(random_model(), RATINGS)
    table = spark.read.parquet(result.outputs["recommendations"])
    rows = expected(model, 4, model.user.ids.to_pylist(), RATINGS)
    assert 5 in model.user.ids.to_pylist()
    assert rows_of(table) == rows
    assert result.metrics["users"] == 13
    assert result.metrics["rows"] == len(rows) == 52
    assert result.metrics["seconds"] > 0
    assert (result.metrics["folded_in"], result.metrics["fallback"]) == (2, 0), "5, and 100: known by features alone"
    published = lake.current(spark, day_root(score_path(settings), DAY), "score")
    assert published.table("recommendations") == result.outputs["recommendations"]
    assert "/score/recommendations/run_date=2024-02-29/" in published.path
    assert {row.run_date for row in lake.read_table(spark, published.path, "recommendations").collect()} == {DAY}
    assert persisted(spark) <= before
    assert run(spark, settings, NOBODY).outputs == result.outputs, "the same inputs: the same version"
    for uri in (f"file:{tmp_path}/saved", f"{lake.current(spark, step_root(settings, 'train')).path}/model/"):
        named = settings.model_copy(update={"score": settings.score.model_copy(update={"model": uri})})
        assert run(spark, named, NOBODY).outputs == result.outputs, "the same model, by its path"


def test_the_job_can_keep_what_was_seen_and_dates_itself(spark: SparkSession, settings: Settings) -> None:
    score = settings.score.model_copy(update={"exclude_seen": False, "run_date": None, "n": 30})
    result = run(spark, settings.model_copy(update={"score": score}), NOBODY)
    rows = spark.read.parquet(result.outputs["recommendations"]).collect()
    assert {(100, 7), (5, 11)} <= {(row.user, row.item) for row in rows}
    (day,) = {row.run_date for row in rows}
    assert abs((datetime.now(timezone.utc).date() - day).days) <= 1
    assert f"run_date={day}" in result.outputs["recommendations"]


def test_the_job_says_what_to_run_first(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match=r"run jobs/train\.py first"):
        run(spark, Settings(dataset="tiny", workdir=f"file:{tmp_path}/empty"), NOBODY)
    nowhere = Settings(dataset="tiny", workdir=f"file:{tmp_path}/empty", score={"model": f"file:{tmp_path}/none"})
    with pytest.raises(NotPublishedError, match=r"no saved model at file:.*/none \(it holds no model\.json\)"):
        run(spark, nowhere, NOBODY)
