"""Sums of blocks added in groups: all of them, once, and what is no sum stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_spark.als import adding
from recsys_spark.als.adding import added, by_group, groups_for
from recsys_spark.als.meter import Done
from recsys_spark.als.project_work import Projected
from recsys_spark.blocks.residency import Miss
from recsys_spark.kernels.projection import ProjectionSums


def done(start: int, failed: int = -1) -> Done:
    sums = ProjectionSums(np.array([[start, 1]]), np.array([[2 * start]]), failed)
    return Done(Projected(start, sums), view_seconds=0.5, seconds=float(start))


def test_few_results_are_the_driver_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "LIMIT", 1000)
    assert groups_for(10, 0) == groups_for(10, 100) == 0
    assert groups_for(100, 11) == 10
    assert groups_for(100, 300) == 3
    assert groups_for(2, 5000) == 1


@pytest.mark.parametrize("groups", [1, 3])
def test_groups_hold_the_sums_of_all(groups: int) -> None:
    results = [done(start) for start in range(1, 8)]
    sent = [
        pair
        for index in range(9)
        for pair in by_group(index, [index], lambda found: [results[i] for i in found], frozenset(range(7)), groups)
    ]
    found = [d for group in range(groups) for d in added(pair for pair in sent if pair[0] == group)]
    assert sorted(d.seconds for d in found) == [1, 2, 3, 4, 5, 6, 7]  # every task is metered
    sums = [d.result.sums for d in found if d.result is not None]
    assert len(sums) == groups
    assert sum(s.normal for s in sums).tolist() == [[28, 7]]
    assert sum(s.right for s in sums).tolist() == [[56]]


def test_misses_and_blocks_that_failed_are_told() -> None:
    miss, failed = Miss(3), done(9, failed=2)
    found = list(added([(0, miss), (0, done(1)), (0, failed), (0, done(2))]))
    assert found[:2] == [miss, failed]
    assert [d.result is None for d in found[2:]] == [True, False]
    assert found[-1].result.sums.right.tolist() == [[6]]
