"""Scoring only users with new ratings: whether the other rows of the day before may be carried over; driver.

A user's rows follow from the model, the candidates, the settings and their own ratings. Where all of these are as they
were, so are the rows, bit for bit, and a day made of old rows and new ones is the day that scoring everybody makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from recsys_spark import lake
from recsys_spark.schema import ITEM, RATING, TIMESTAMP, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHANGED = {
    "model": "the model is another one",
    "settings": "the settings of scoring are others",
    "candidates": "other items may be recommended",
    "features": "the user features are others",
    "release": "it was made by another release of recsys_spark",
}


@dataclass(frozen=True)
class RatingsFacts:
    """What the ratings are: their number, the time of the latest, and a hash that no order or partitioning changes."""

    rows: int
    until: datetime | None
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "rows": self.rows,
            "until": self.until.isoformat() if self.until else None,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> RatingsFacts:
        """Read what `to_json` made."""
        until = datetime.fromisoformat(found["until"]) if found["until"] else None
        return cls(found["rows"], until, found["fingerprint"])


def facts_of(ratings: DataFrame, until: datetime | None = None) -> tuple[RatingsFacts, RatingsFacts]:
    """Facts of all ratings, and of those up to a moment (None: of none); one job."""
    from pyspark.sql import functions as F

    at = F.unix_micros(TIMESTAMP)
    early = F.lit(False) if until is None else at <= _micros(until)
    row_hash = F.xxhash64(USER, ITEM, RATING, at).cast("decimal(38, 0)")
    found = ratings.agg(
        F.count(F.lit(1)), F.max(at), F.sum(row_hash),
        F.count_if(early), F.max(F.when(early, at)), F.sum(F.when(early, row_hash)),
    ).collect()[0]  # fmt: skip
    return _facts(*found[:3]), _facts(*found[3:])


def until_of(before: lake.Published | None) -> datetime | None:
    """The latest rating that the day before knew; None where there was none, or nobody wrote it down."""
    found = before.manifest.extra.get("ratings") if before else None
    return RatingsFacts.from_json(found).until if found else None


def carry_from(
    before: lake.Published | None, recipe: Mapping[str, str], earlier: RatingsFacts, since: datetime | Literal["last"]
) -> tuple[datetime | None, str]:
    """From when on ratings make a user one that is scored again; None: everybody is; and why, for people.

    Parameters
    ----------
    before : the day before
    recipe : what rows follow from beside the ratings, by the names of `_CHANGED`
    earlier : facts of the ratings up to the latest that the day before knew
    since : what was asked for; ``last``: the latest rating that the day before knew. A later moment is moved there, so
        that no rating falls between the days
    """
    if before is None:
        return None, "there is no day before"
    extra, of = before.manifest.extra, f"the day before ({before.manifest.settings['run_date']}) cannot be carried over"
    made_of = extra.get("recipe", {})
    changed = [why for part, why in _CHANGED.items() if made_of.get(part) != recipe[part]]
    if changed:
        return None, f"{of}: {', '.join(changed)}"
    known = RatingsFacts.from_json(extra["ratings"])
    if earlier != known or known.until is None:
        return None, (
            f"{of}: ratings up to {known.until} have come late, changed or gone: it knew {known.rows:,}, and there are "
            f"{earlier.rows:,} now"
        )
    start = known.until if since == "last" else min(since, known.until)
    return start, f"users with ratings since {start} are scored, the others carried over"


def rated_since(ratings: DataFrame, moment: datetime) -> DataFrame:
    """The users with a rating at that moment or later, each once."""
    from pyspark.sql import functions as F

    return ratings.where(F.unix_micros(TIMESTAMP) >= _micros(moment)).select(USER).distinct()


def _facts(rows: int, until: int | None, total: Any) -> RatingsFacts:
    moment = None if until is None else _EPOCH + timedelta(microseconds=until)
    return RatingsFacts(rows, moment, lake.fingerprint(rows, str(total or 0)))


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
