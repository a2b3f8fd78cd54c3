"""The accounts of an ingest: every physical line is accepted, rejected with a reason, or a duplicate; driver only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_OFFENDERS = 5
_SHOWN = 100


@dataclass(frozen=True)
class Account:
    """Lines of one table: all of them (headers apart), those rejected, those that a later one replaces, those kept."""

    kind: str
    read: int
    rejected: int
    duplicates: int
    kept: int

    @property
    def rejected_share(self) -> float:
        """Rejected lines as a share of all."""
        return self.rejected / self.read if self.read else 0.0

    def check(self) -> None:
        """Make sure that nothing was lost or invented.

        Raises
        ------
        DataError
            The counts do not add up: the files changed while they were read.
        """
        if self.read != self.kept + self.rejected + self.duplicates:
            raise DataError(
                f"{self.kind}: {self.read:,} lines were read, but {self.kept:,} kept, {self.rejected:,} rejected and "
                f"{self.duplicates:,} duplicates make {self.kept + self.rejected + self.duplicates:,}; "
                "did the files change meanwhile? Run again"
            )


def refuse(account: Account, rejected: DataFrame, max_share: float, files: tuple[str, ...]) -> None:
    """Raise if a table is empty or too damaged; only then look at the rejected lines.

    Parameters
    ----------
    rejected : the table's rejected lines (source, content, reason)
    max_share : share of lines that may be rejected

    Raises
    ------
    DataError
        No line at all, none that is good, or too large a share is bad: with counts by reason and the first offenders.
    """
    where = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    if account.read == 0:
        raise DataError(f"{where} has no rows: expected {account.kind}")
    if account.kept and account.rejected_share <= max_share:
        return
    counts = count_reasons(rejected)
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    first = "\n".join(f"  {row.reason}: {row.content[:_SHOWN]!r} in {row.source}" for row in rejected.take(_OFFENDERS))
    raise DataError(
        f"{account.rejected:,} of {account.read:,} lines of {where} are no {account.kind} "
        f"({account.rejected_share:.1%}, allowed are {max_share:.1%}, ingest.max_rejected_share): {reasons}\n{first}"
    )


def count_reasons(rejected: DataFrame) -> dict[str, int]:
    """Rejected lines by reason, the most frequent first."""
    counts = {row["reason"]: int(row["count"]) for row in rejected.groupBy("reason").count().collect()}
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def summary(
    name: str, accounts: Mapping[str, Account], metrics: Mapping[str, float], reasons: Mapping[str, int]
) -> str:
    """A few lines for people: what there is, what is odd, what was put aside."""
    ratings, movies = accounts["ratings"], accounts["movies"]
    lines = [
        f"{name}: {ratings.kept:,} ratings of {metrics['items']:,} films by {metrics['users']:,} users",
        f"  {metrics['density']:.3%} of all cells, mean rating {metrics['rating_mean']:.3f}",
        f"  films listed: {movies.kept:,}",
        f"  without a year: {metrics['movies_without_year']:,}, without genres: {metrics['movies_without_genres']:,}",
    ]
    if "users" in accounts:
        lines.append(f"  users with attributes: {accounts['users'].kept:,}")
    if metrics["ratings_of_unlisted_movies"]:
        lines.append(f"  ratings of films that are not listed: {metrics['ratings_of_unlisted_movies']:,} (kept)")
    if ratings.duplicates:
        lines.append(f"  user and item twice: {ratings.duplicates:,} (the latest was kept)")
    for reason, count in reasons.items():
        lines.append(f"  rejected, {reason}: {count:,}")
    return "\n".join(lines)
