"""Scoring only users whose ratings have changed: who they are, and whether others' rows may be carried over; driver.

A user's rows follow from the model, the candidates, the settings and their own ratings. Where all of these are as they
were the day before, so are the rows, bit for bit, and a day made of old rows and new ones is the day that scoring
everybody makes. A day therefore keeps a digest of each user's ratings beside its rows: whatever has happened to them
since (rated, rated anew, come late, withdrawn), it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.schema import ITEM, RATING, TIMESTAMP, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RATED = "rated"
"""The table of digests: user, ratings, last (of them, in microseconds since 1970), digest."""

_RATINGS, _LAST, _DIGEST = "ratings", "last", "digest"
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
    until: datetime
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {"rows": self.rows, "until": self.until.isoformat(), "fingerprint": self.fingerprint}


def digests(ratings: DataFrame) -> DataFrame:
    """A row for each user of the ratings, as `RATED` has it."""
    from pyspark.sql import functions as F

    at = F.unix_micros(TIMESTAMP)
    return ratings.groupBy(USER).agg(
        F.count(F.lit(1)).alias(_RATINGS),
        F.max(at).alias(_LAST),
        F.bit_xor(F.xxhash64(ITEM, RATING, at)).alias(_DIGEST),
    )


def facts_of(rated: DataFrame) -> RatingsFacts:
    """Facts of all ratings from the digests of their users; one job."""
    from pyspark.sql import functions as F

    hashed = F.bit_xor(F.xxhash64(USER, _RATINGS, _DIGEST))
    rows, last, digest = rated.agg(F.sum(_RATINGS), F.max(_LAST), hashed).collect()[0]
    return RatingsFacts(rows or 0, _EPOCH + timedelta(microseconds=last or 0), lake.fingerprint(rows, digest))


def why_not(before: lake.Published | None, recipe: Mapping[str, str]) -> str | None:
    """Why nobody's rows can be carried over from the day before, for people; None where they can.

    Parameters
    ----------
    recipe : what rows follow from beside the ratings, by the names of `_CHANGED`
    """
    if before is None:
        return "there is no day before"
    made_of = before.manifest.extra.get("recipe", {})
    changed = [why for part, why in _CHANGED.items() if made_of.get(part) != recipe[part]]
    if changed:
        day = before.manifest.settings["run_date"]
        return f"the day before ({day}) cannot be carried over: {', '.join(changed)}"
    return None


def changed_users(rated: DataFrame, before: DataFrame, since: datetime | None) -> DataFrame:
    """Users whose ratings are not those of the day before, those who are gone too, and who rated at `since` or later.

    Parameters
    ----------
    rated, before : digests of now and then
    """
    from pyspark.sql import functions as F

    columns = [USER, _RATINGS, _LAST, _DIGEST]
    then = before.select(*(F.col(name).alias(f"then_{name}" if name != USER else USER) for name in columns))
    same = F.lit(True)
    for name in columns[1:]:
        same &= F.col(name).eqNullSafe(F.col(f"then_{name}"))
    recent = F.lit(False) if since is None else F.coalesce(F.col(_LAST) >= _micros(since), F.lit(False))
    return rated.join(then, USER, "full").where(~same | recent).select(USER)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
