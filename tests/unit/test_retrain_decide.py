"""Who serves from now on: the verdict over two models' errors, and its reason."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from recsys_spark.errors import EnvironmentProblem
from recsys_spark.evaluate.rating import RatingSums
from recsys_spark.retrain.contest import Contest, Verdict, decide
from recsys_spark.retrain.job import _register
from recsys_spark.score.carry import RatingsFacts
from recsys_spark.tracking.run import Tracker
from recsys_spark.tracking.versions import Version

CUT = datetime(2026, 11, 20, 3, tzinfo=timezone.utc)
NOTHING = cast(Any, None)
CONTEST = Contest(NOTHING, NOTHING, RatingsFacts(5000, CUT, "f"), 1200, CUT, "r")


def verdict(challenger: float, champion: float, margin: float = 0.01, until: str | None = None) -> Verdict:
    tags = {"trained_until": until or "2026-11-19T00:00:00+00:00"}
    sums = {"challenger": RatingSums(n=1, squared=challenger**2), "champion": RatingSums(n=1, squared=champion**2)}
    return decide(sums, Version("m", "4", "run", tags), CONTEST, margin)


def test_it_wins_by_the_margin_and_not_by_less() -> None:
    assert verdict(0.8, 0.9) == Verdict(
        True,
        "RMSE 0.8000 on 1,200 ratings since 2026-11-20 03:00 UTC is 11.11% below the 0.9000 of version 4, "
        "at least 1.00% below is wanted",
    )
    assert not verdict(0.8, 0.801).promoted
    assert verdict(0.8, 0.8, margin=0.0).promoted
    assert not verdict(0.9, 0.8, margin=0.0).promoted
    assert "is 12.50% above the 0.8000 of version 4" in verdict(0.9, 0.8).reason
    assert not verdict(math.nan, 0.8).promoted


def test_a_champion_that_may_have_seen_the_test_is_said_to() -> None:
    assert "may have been trained" not in verdict(0.8, 0.9, until=CUT.isoformat()).reason
    assert verdict(0.8, 0.9, until="2026-11-20T03:00:01+00:00").reason.endswith(
        "; version 4 may have been trained on some of these ratings (up to 2026-11-20T03:00:01+00:00)"
    )
    sums = {"challenger": RatingSums(n=1, squared=1.0), "champion": RatingSums(n=1, squared=4.0)}
    assert decide(sums, Version("m", "4", "run", {}), CONTEST, 0.0).reason.endswith("(up to unknown)")


def test_the_first_is_champion_whatever_it_does() -> None:
    found = decide({"challenger": RatingSums(n=1, squared=4.0)}, None, CONTEST, 0.5)
    assert found == Verdict(True, "the first champion; RMSE 2.0000 on 1,200 ratings since 2026-11-20 03:00 UTC")


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_a_perfect_champion_is_kept(margin: float) -> None:
    assert not verdict(0.1, 0.0, margin).promoted


def test_a_challenger_that_is_not_registered_leaves_the_champion() -> None:
    registry = cast(Any, SimpleNamespace(store="sqlite:///x.db"))  # nothing of it may be called
    with pytest.raises(
        EnvironmentProblem, match=r"sqlite:///x\.db did not register it: the champion stays; run jobs/re"
    ):
        _register(Tracker(), registry, {}, Verdict(True, "better"), None)
