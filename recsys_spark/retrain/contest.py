"""A challenger that goes on from the champion, judged beside it on the newest ratings; driver.

    ratings ──by time──▶ older ──▶ challenger, begun from the champion ─┐
                     └─▶ newest ───────────────────────────────────────┴─▶ RMSE of both ──▶ promote or keep

Both are judged as they would serve: users of the older ratings whom a model was not trained on are folded in. What is
promoted is what was judged.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from recsys_spark import __version__, lake
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.job import graph_of
from recsys_spark.config import Settings
from recsys_spark.evaluate.aggregate import TRAIN_COUNT, require_predictions, sums_by_bin
from recsys_spark.evaluate.job import choose_classes
from recsys_spark.evaluate.rating import RatingSums, total
from recsys_spark.features.job import read_columns
from recsys_spark.ingest.splits import parts, time_cut
from recsys_spark.ml.job import estimator_of
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.schema import ITEM, PART, RATING, TEST, TIMESTAMP, USER, VALIDATION
from recsys_spark.score.carry import RatingsFacts, digests, facts_of
from recsys_spark.score.newcomers import user_features, with_newcomers
from recsys_spark.tracking.versions import CHAMPION, Version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

CHALLENGER = "challenger"
UNTIL = "trained_until"
"""Tag: no rating from then on was trained on."""


@dataclass(frozen=True)
class Contest:
    """The ratings of one night: `older` (user, item, rating, held_out) train, `newest` (user, item, rating) judge."""

    older: DataFrame
    newest: DataFrame
    facts: RatingsFacts
    rows: int  # of the newest
    cut: datetime  # the first moment of the newest
    recipe: str


@dataclass(frozen=True)
class Verdict:
    """Who serves from now on, and why."""

    promoted: bool
    reason: str


def contest_of(spark: SparkSession, settings: Settings, ingest: lake.Published, features: lake.Published) -> Contest:
    """The night's ratings, cut at the moment from which on the newest share lies; two jobs. DataError as `time_cut`."""
    ratings, chosen = lake.read_table(spark, ingest.path, "ratings"), settings.split
    labelled = parts(time_cut(ratings, None, settings.retrain.share), 0, chosen.validation_share, chosen.seed)
    is_test = F.col(PART) == TEST
    found = labelled.where(is_test).agg(F.count(F.lit(1)), F.min(F.unix_seconds(TIMESTAMP))).collect()[0]
    facts = facts_of(digests(ratings))
    decisive = {
        "ratings": facts.fingerprint,
        "features": features.manifest.version,
        "train": settings.train.model_dump(mode="json"),
        "graphs": settings.blocks.model_dump(mode="json", include={"user_graph", "item_graph"}),
        "split": [settings.retrain.share, settings.retrain.max_iter, chosen.validation_share, chosen.seed],
        "release": __version__,
    }
    held_out = (F.col(PART) == VALIDATION).alias("held_out")
    return Contest(
        older=labelled.where(~is_test).select(USER, ITEM, RATING, held_out),
        newest=labelled.where(is_test).select(USER, ITEM, RATING),
        facts=facts,
        rows=found[0],
        cut=datetime.fromtimestamp(found[1], timezone.utc),
        recipe=lake.fingerprint(decisive),
    )


def start_of(holder: FittedModel | None, settings: Settings) -> FittedModel | None:
    """What a challenger begins from: the champion's model, or None, the seed, where its rank is another one."""
    if holder is not None and holder.rank != settings.train.rank:
        rank = settings.train.rank
        log.warning("the champion has rank %d, train.rank is %d: the challenger begins anew", holder.rank, rank)
        return None
    return holder


def fit_challenger(
    spark: SparkSession, settings: Settings, contest: Contest, features: lake.Published, start: FittedModel | None
) -> FittedModel:
    """A fit to the older ratings that begins from a model, for ``retrain.max_iter``, or from the seed."""
    train = settings.train
    if start is not None and settings.retrain.max_iter:
        train = train.model_copy(update={"max_iter": settings.retrain.max_iter})
    estimator = estimator_of(settings.model_copy(update={"train": train})).setParams(validationIndicatorCol="held_out")
    if start is not None:
        estimator.setInitialModel(BlockALSModel(start))
    for key, spec, set_features, set_graph in (
        (USER, settings.blocks.user_graph, estimator.setUserFeatures, estimator.setUserGraph),
        (ITEM, settings.blocks.item_graph, estimator.setItemFeatures, estimator.setItemGraph),
    ):
        rows, columns = lake.read_table(spark, features.path, key), read_columns(spark, features.path, key)
        set_features(rows, columns)
        if spec:
            set_graph(graph_of(spark, spec, rows, key, columns))
    return estimator.fit(contest.older).fitted


def judge(
    spark: SparkSession,
    settings: Settings,
    ingest: lake.Published,
    contest: Contest,
    models: dict[str, FittedModel | None],
) -> dict[str, RatingSums]:
    """Sums over the newest ratings by contender, each as it would serve."""
    rows = contest.newest
    judged = [name for name, model in models.items() if model is not None]
    for name in judged:
        model = models[name]
        assert model is not None
        found = user_features(spark, settings, model)
        described = lake.read_table(spark, found.path, USER) if found else None
        served, _ = with_newcomers(spark, model, contest.older, described)
        rows = BlockALSModel(served).setColdStartStrategy("fallback").setPredictionCol(name).transform(rows)
    classes = choose_classes(ingest.manifest.extra["scale"], contest.older)
    sums = sums_by_bin(rows.withColumn(TRAIN_COUNT, F.lit(0)), judged, classes, [0])
    for name in judged:
        require_predictions(rows, name, sums[name])
    return {name: total(sums[name]) for name in judged}


def decide(measured: dict[str, RatingSums], champion: Version | None, contest: Contest, margin: float) -> Verdict:
    """The challenger wins where its RMSE is lower by the margin, or where there is no champion."""
    mine = measured[CHALLENGER].rmse
    newest = f"{contest.rows:,} ratings since {contest.cut:%Y-%m-%d %H:%M} UTC"
    if champion is None:
        return Verdict(True, f"the first champion; RMSE {mine:.4f} on {newest}")
    theirs = measured[CHAMPION].rmse
    gain = (theirs - mine) / theirs if theirs else -math.inf
    how = f"{abs(gain):.2%} {'below' if gain >= 0 else 'above'}"
    reason = (
        f"RMSE {mine:.4f} on {newest} is {how} the {theirs:.4f} of version {champion.number}, "
        f"at least {margin:.2%} below is wanted"
    )
    until = champion.tags.get(UNTIL)
    if until is None or datetime.fromisoformat(until) > contest.cut:
        reason += (
            f"; version {champion.number} may have been trained on some of these ratings (up to {until or 'unknown'})"
        )
    return Verdict(math.isfinite(mine) and gain >= margin, reason)
