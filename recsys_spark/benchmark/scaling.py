"""Seconds of an iteration of BlockALS against the number of ratings: fits to shares of the users. Driver."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from recsys_spark.schema import USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.benchmark.ours import Ours

log = logging.getLogger(__name__)

_BUCKETS = 1 << 20


@dataclass(frozen=True)
class Scaled:
    """A fit to a share of the users.

    Attributes
    ----------
    ratings : training and validation ratings together
    seconds : the median of the iterations after the first, which may compile
    compute : likewise, of arithmetic on blocks alone
    """

    share: float
    ratings: int
    seconds: float
    compute: float


def iteration_seconds(ours: Ours, ratings: DataFrame, shares: Sequence[float], iterations: int) -> list[Scaled]:
    """Fit each share, the smallest first. The users of a share are those whose hash is small, so shares are nested."""
    found = []
    for share in sorted(shares):
        part = ratings.where(F.pmod(F.xxhash64(USER), F.lit(_BUCKETS)) < round(share * _BUCKETS))
        history = ours.fit(part, 1 + iterations).trained.history.slice(1)
        medians = (statistics.median(history[name].to_pylist()) for name in ("seconds", "seconds_compute"))
        found.append(Scaled(share, part.count(), *medians))
        log.info("%s ratings: %.2f s an iteration", f"{found[-1].ratings:,}", found[-1].seconds)
    return found
