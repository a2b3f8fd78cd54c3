"""Settings of what runs by the day: recommendations, and the retraining of the model behind them."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Literal

from pydantic import Field, field_validator

from recsys_spark.config.section import Section


class CandidateSettings(Section):
    """Which items may be recommended."""

    released_by: Literal["run_date"] | date | None = Field(
        None, description="no item of a later year than this day's (run_date or a date); without a year they stay"
    )
    genres: tuple[str, ...] = Field((), description="only items of one of these genres; []: of all")
    not_genres: tuple[str, ...] = Field((), description="no item of any of these genres")
    allow: tuple[int, ...] | str | None = Field(
        None, description="only these items: a list of ids, or a Parquet table with the column item; null: all"
    )
    block: tuple[int, ...] | str | None = Field(None, description="none of these items, likewise")
    min_ratings: float = Field(
        0, ge=0, description="training ratings an item has at least; 1: none that is known by its features alone"
    )


class GateSettings(Section):
    """What stops a day of recommendations from being published."""

    min_served: float = Field(0.99, ge=0, le=1, description="share of users who get a recommendation at least")
    score_margin: float | None = Field(
        0.5, ge=0, description="how far scores may lie beyond the scale, in its widths (a diverged fit); null: anywhere"
    )
    min_overlap: float = Field(
        0.1, ge=0, le=1, description="share of the rows that was there the day before (a wrong model or table); 0: any"
    )
    publish_anyway: bool = Field(False, description="publish all the same, and record what failed")


class ScoreSettings(Section):
    """Recommendations for every user."""

    n: int = Field(10, ge=1, description="recommendations per user")
    run_date: date | None = Field(None, description="date the recommendations are kept under; null: today (UTC)")
    model: str | None = Field(
        None, description="models:/NAME@ALIAS, models:/NAME/VERSION, a path or URI; null: what jobs/train.py made last"
    )
    exclude_seen: bool = Field(True, description="leave out what the user has rated")
    item_bias_weight: float = Field(
        1.0, ge=0, le=1, description="β, order by μ + b + βc + p·q: below 1, taste over popularity"
    )
    since: Literal["last"] | datetime | None = Field(
        None,
        description="last: score only users whose ratings changed since the day before, carry over the rest; a time "
        "(UTC): those who rated since as well; null: score everybody",
    )
    keep_days: int | None = Field(None, ge=2, description="days that are kept, the latest; null: all")
    candidates: CandidateSettings = CandidateSettings()
    gates: GateSettings = GateSettings()

    @field_validator("since")
    @classmethod
    def _since_is_utc(cls, since: Literal["last"] | datetime | None) -> Literal["last"] | datetime | None:
        naive = isinstance(since, datetime) and since.tzinfo is None
        return since.replace(tzinfo=timezone.utc) if naive and isinstance(since, datetime) else since


class RetrainSettings(Section):
    """The nightly contest: a model that goes on from the champion against the champion."""

    name: str | None = Field(
        None, min_length=1, description="registered model whose champion is retrained; null: the data set's name"
    )
    share: float = Field(0.05, gt=0, lt=1, description="share of the ratings, the newest, that decides the contest")
    margin: float = Field(
        0.001, ge=0, lt=1, description="by what share the challenger's RMSE has to be lower: noise is not a win"
    )
    max_iter: int | None = Field(None, ge=1, description="iterations of a warm start; null: train.max_iter")
