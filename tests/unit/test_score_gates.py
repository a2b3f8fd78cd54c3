"""What stops a day of recommendations, from its measures alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recsys_spark.config import GateSettings
from recsys_spark.errors import RefusedError
from recsys_spark.score.gates import Measures, failures, judge

GOOD = Measures(users=1000, served=1000, rows=10_000, broken=0, lowest=2.0, highest=5.5, overlap=0.8)
SCALE = (0.5, 5.0)
GATES = GateSettings(min_served=0.99, score_margin=0.5, min_overlap=0.1)


def test_a_good_day_passes() -> None:
    assert failures(GOOD, GATES, SCALE) == []
    assert failures(replace(GOOD, overlap=None, served=990), GATES, SCALE) == []
    assert judge(GOOD, GATES, SCALE, "2026-11-20")["published_anyway"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"served": 989},
            "989 of 1,000 users (98.9%) get recommendations, at least 99.0% should (score.gates.min_served)",
        ),
        ({"users": 0, "served": 0}, "0 of 0 users (0.0%) get recommendations"),
        ({"broken": 3}, "3 of 10,000 scores are no finite numbers"),
        (
            {"highest": 7.3},
            "scores go from 2.00 to 7.30 on a scale of 0.5 to 5, beyond it by more than 0.5 of its width",
        ),
        ({"lowest": -1.8}, "scores go from -1.80 to 5.50"),
        ({"overlap": 0.05}, "5.0% of the recommendations were there the day before, at least 10.0% should"),
    ],
)
def test_each_gate_says_what_it_found(change: dict[str, Any], words: str) -> None:
    (found,) = failures(replace(GOOD, **change), GATES, SCALE)
    assert words in found
    with pytest.raises(RefusedError, match="the recommendations of today are not published: .*What was there stays"):
        judge(replace(GOOD, **change), GATES, SCALE, "today")
    anyway = GATES.model_copy(update={"publish_anyway": True})
    assert judge(replace(GOOD, **change), anyway, SCALE, "today")["failed"] == [found]


def test_gates_can_be_opened_and_scales_may_have_no_end() -> None:
    odd = replace(GOOD, lowest=-50.0, highest=80.0, overlap=0.0, served=0)
    assert failures(odd, GateSettings(min_served=0, score_margin=None, min_overlap=0), SCALE) == []
    assert len(failures(odd, GATES, (float("-inf"), float("inf")))) == 2
    assert failures(replace(GOOD, lowest=None, highest=None), GATES, SCALE) == []
