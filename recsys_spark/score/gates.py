"""Quality gates: what is measured of a day's recommendations before they are published, and what stops them; driver."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from recsys_spark.config import GateSettings
from recsys_spark.errors import RefusedError
from recsys_spark.schema import ITEM, SCORE, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Measures:
    """Facts of a day.

    Attributes
    ----------
    users : who should get recommendations
    served : who gets at least one
    rows : recommendations
    broken : rows whose score is null, NaN or infinite
    lowest, highest : of the other scores, in rating units; None without rows
    overlap : share of the rows, of users who were served the day before too, that these had then; None without any
    """

    users: int
    served: int
    rows: int
    broken: int
    lowest: float | None
    highest: float | None
    overlap: float | None


def measure(day: DataFrame, users: int, before: DataFrame | None) -> Measures:
    """Measure recommendations beside those of the day before; one job, and one more where there is such a day."""
    from pyspark.sql import functions as F

    score = F.col(SCORE).cast("double")
    whole = score.isNotNull() & ~F.isnan(score) & (F.abs(score) != float("inf"))
    found = day.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_distinct(USER).alias("served"),
        F.count_if(~whole).alias("broken"),
        F.min(F.when(whole, score)).alias("lowest"),
        F.max(F.when(whole, score)).alias("highest"),
    ).collect()[0]
    return Measures(users=users, overlap=None if before is None else _overlap(day, before), **found.asDict())


def failures(measures: Measures, gates: GateSettings, scale: tuple[float, float]) -> list[str]:
    """What is wrong with a day, each with the setting that says so; empty: it may be published."""
    found = []
    share = measures.served / measures.users if measures.users else 0.0
    if share < gates.min_served:
        found.append(
            f"{measures.served:,} of {measures.users:,} users ({share:.1%}) get recommendations, at least "
            f"{gates.min_served:.1%} should (score.gates.min_served)"
        )
    if measures.broken:
        found.append(f"{measures.broken:,} of {measures.rows:,} scores are no finite numbers")
    if gates.score_margin is not None and measures.lowest is not None and measures.highest is not None:
        room = gates.score_margin * (scale[1] - scale[0])
        if measures.lowest < scale[0] - room or measures.highest > scale[1] + room:
            found.append(
                f"scores go from {measures.lowest:.2f} to {measures.highest:.2f} on a scale of {scale[0]:g} to "
                f"{scale[1]:g}, beyond it by more than {gates.score_margin:g} of its width (score.gates.score_margin)"
            )
    if measures.overlap is not None and measures.overlap < gates.min_overlap:
        found.append(
            f"{measures.overlap:.1%} of the recommendations were there the day before, at least "
            f"{gates.min_overlap:.1%} should (score.gates.min_overlap)"
        )
    return found


def judge(measures: Measures, gates: GateSettings, scale: tuple[float, float], day: str) -> dict[str, Any]:
    """The account of the gates for the manifest: measures, failures, whether it was published in spite of them.

    Raises
    ------
    RefusedError
        A gate fails, and nobody asked to publish anyway.
    """
    failed = failures(measures, gates, scale)
    if failed and not gates.publish_anyway:
        raise RefusedError(
            f"the recommendations of {day} are not published: {'; '.join(failed)}. What was there stays. Look for the "
            "cause in the model and the ratings; --publish-anyway publishes them all the same, and records it"
        )
    return {"measures": asdict(measures), "failed": failed, "published_anyway": bool(failed)}


def _overlap(day: DataFrame, before: DataFrame) -> float | None:
    from pyspark.sql import functions as F

    then = before.select(USER, ITEM, F.lit(1).alias("then"))
    of_both = day.select(USER, ITEM).join(before.select(USER).distinct(), USER, "left_semi")
    found = of_both.join(then, [USER, ITEM], "left").agg(F.count(F.lit(1)), F.count("then")).collect()[0]
    return found[1] / found[0] if found[0] else None
