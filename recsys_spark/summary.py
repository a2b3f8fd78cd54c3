"""What a person reads at the end of the pipeline: data, training, metrics, three users, and where everything lies."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from recsys_spark import lake, schema
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, step_root
from recsys_spark.evaluate.report import MODEL, POPULARITY, RANKED, SVD, ranked_cells, title

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

SAMPLE_USERS = 3
LIKED = 4
SHOWN = 5
WIDTH = 110


def sample_recommendations(spark: SparkSession, settings: Settings, recommendations: DataFrame) -> pd.DataFrame:
    """A few users, what they liked most and what they get, by title: pandas (user, liked, recommended), a row a place.

    The users are those of median activity, so that the sample is neither the newest nor the busiest; ties by id.
    """
    from pyspark.sql import functions as F

    ingested = lake.current(spark, step_root(settings, "ingest"), "ingest").path
    ratings = lake.read_table(spark, ingested, "ratings")
    titles = lake.read_table(spark, ingested, "movies").select(schema.ITEM, schema.TITLE)
    activity = ratings.groupBy(schema.USER).count()
    median = activity.select(F.percentile_approx("count", 0.5)).first()[0]  # type: ignore[index]
    nearest = activity.orderBy(F.abs(F.col("count") - median), F.hash(schema.USER), schema.USER).limit(SAMPLE_USERS)
    users = [row[schema.USER] for row in nearest.collect()]
    liked = ratings.where(F.col(schema.USER).isin(users)).select(
        schema.USER, schema.ITEM, _place(-F.col(schema.RATING), -F.unix_timestamp(schema.TIMESTAMP)), schema.RATING
    )
    got = recommendations.where(F.col(schema.USER).isin(users))
    return _sample_table(
        users,
        _titled(liked.where(F.col("place") <= LIKED), titles, schema.RATING),
        _titled(got.withColumnRenamed(schema.RANK, "place").where(F.col("place") <= SHOWN), titles, schema.SCORE),
    )


def _place(*order: Any) -> Any:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    return F.row_number().over(Window.partitionBy(schema.USER).orderBy(*order, F.col(schema.ITEM))).alias("place")


def _titled(rows: DataFrame, titles: DataFrame, value: str) -> dict[tuple[Any, int], str]:
    found = (
        rows.join(titles, schema.ITEM, "left").select(schema.USER, "place", schema.ITEM, schema.TITLE, value).collect()
    )
    return {
        (r[schema.USER], r["place"]): f"{r[schema.TITLE] or 'film ' + str(r[schema.ITEM])}  {r[value]:.1f}"
        for r in found
    }


def _sample_table(
    users: list[Any], liked: Mapping[tuple[Any, int], str], got: Mapping[tuple[Any, int], str]
) -> pd.DataFrame:  # fmt: skip
    import pandas as pd

    places = range(1, max(LIKED, SHOWN) + 1)
    rows = [(u, place, liked.get((u, place), ""), got.get((u, place), "")) for u in users for place in places]
    return pd.DataFrame(rows, columns=["user", "place", "liked", "recommended"])


def summarise(spark: SparkSession, settings: Settings, results: Mapping[str, JobResult]) -> str:
    """The pipeline's summary as text. `results` are those of the steps by name."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, highlight=False, markup=False)
    ingest, train, evaluate = (results[name].metrics for name in ("ingest", "train", "evaluate"))
    console.print()
    console.rule(f"{settings.dataset}")
    console.print(
        f"Data      {ingest['ratings']:,.0f} ratings of {ingest['items']:,.0f} films by {ingest['users']:,.0f} users; "
        f"{ingest.get('rejected', 0):,.0f} rows rejected, {ingest.get('duplicates', 0):,.0f} duplicates"
    )
    stopped = lake.current(spark, step_root(settings, "train"), "train").manifest.extra["stop_reason"]
    console.print(
        f"Training  rank {settings.train.rank}, {train['iterations']:.0f} iterations in {train['seconds']:.1f} s, "
        f"kept {train['best_iteration']:.0f} ({stopped})"
    )
    console.print()
    console.print(_metrics_table(evaluate, settings))
    console.print()
    if "ranked_users" in evaluate:
        console.print(_ranking_table(evaluate, settings))
        console.print()
    recommendations = spark.read.parquet(results["score"].outputs["recommendations"])
    console.print(_users_table(sample_recommendations(spark, settings, recommendations)))
    console.print()
    for name, path in (
        ("Model", results["train"].outputs["model"]),
        ("Top-N", results["score"].outputs["recommendations"]),
        ("Figures", results["evaluate"].outputs["figures"]),
        ("Rejected", results["ingest"].outputs["rejected"]),
    ):
        console.print(f"{name:<9} {path}", soft_wrap=True)
    if settings.tracking.enabled:
        from recsys_spark.tracking.store import store_uri

        console.print(f"MLflow    .venv/bin/mlflow ui --backend-store-uri {store_uri(settings)}", soft_wrap=True)
    return out.getvalue()


def _metrics_table(metrics: Mapping[str, float], settings: Settings) -> Table:
    table = Table(
        title=f"Test fold {settings.split.test_fold}: {metrics['test_rows']:,.0f} ratings", title_justify="left"
    )
    for heading in ("", "RMSE", "MAE", "accuracy"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, end in (("model", ""), *((b, f"_{b}") for b in settings.evaluate.baselines)):
        table.add_row(
            title(name),
            f"{metrics[f'rmse{end}']:.4f}",
            f"{metrics[f'mae{end}']:.4f}",
            f"{metrics[f'accuracy{end}']:.1%}",
        )
    return table


def _ranking_table(metrics: Mapping[str, float], settings: Settings) -> Table:
    table = Table(
        title=f"Lists of {settings.evaluate.ranking.k} for {metrics['ranked_users']:,.0f} test users",
        title_justify="left",
    )
    for heading in ("", *RANKED.values()):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, end in ((MODEL, ""), (POPULARITY, f"_{POPULARITY}"), (SVD, f"_{SVD}")):
        if f"ndcg{end}" in metrics:
            table.add_row(title(name), *ranked_cells({metric: metrics[f"{metric}{end}"] for metric in RANKED}))
    return table


def _users_table(sample: pd.DataFrame) -> Table:
    table = Table(title="Three users: what they liked (their rating), what they get (predicted)", title_justify="left")
    for heading in ("user", "liked", "recommended"):
        table.add_column(heading)
    last = None
    for row in sample.itertuples():
        if last not in (None, row.user):
            table.add_section()
        table.add_row("" if row.user == last else str(row.user), str(row.liked), str(row.recommended))
        last = row.user
    return table
