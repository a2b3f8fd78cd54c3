"""Cuts between blocks: balanced, and the best there are."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.blocks.partition import (
    FEATURED_COST,
    OWN_COST,
    UNRATED_COST,
    balanced_bounds,
    lookup,
    row_costs,
)


def ranges(costs: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """What each range costs."""
    return np.diff(np.r_[0, np.cumsum(costs)][bounds])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5000), blocks=st.integers(1, 64), tail=st.floats(0.6, 3))
def test_heavy_tails_are_cut_evenly_where_no_row_is_in_the_way(seed: int, rows: int, blocks: int, tail: float) -> None:
    costs = np.ceil(np.random.default_rng(seed).pareto(tail, rows) * 10).clip(max=1e6).astype(np.int64) + 1
    bounds = balanced_bounds(costs, blocks)
    assert bounds[0] == 0
    assert bounds[-1] == rows
    assert len(bounds) == blocks + 1
    assert (np.diff(bounds) >= 0).all()
    found = ranges(costs, bounds)
    mean, largest = found.mean(), costs.max()
    assert found.max() <= max(1.5 * mean, largest, mean + largest)
    if largest <= mean / 2:
        assert found.max() <= 1.5 * mean


@pytest.mark.parametrize("where", [0, 500, 999])
@pytest.mark.parametrize("blocks", [2, 3, 8])
def test_one_item_in_every_users_list(where: int, blocks: int) -> None:
    costs = np.full(1000, 20)
    costs[where] = 20_000  # as much as all the others together
    found = ranges(costs, balanced_bounds(costs, blocks))
    assert found.max() <= max(1.5 * found.mean(), 20_000)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 7), blocks=st.integers(1, 4))
def test_no_cut_has_a_smaller_maximum(seed: int, rows: int, blocks: int) -> None:
    costs = np.random.default_rng(seed).integers(1, 200, rows)
    every = itertools.combinations_with_replacement(range(rows + 1), blocks - 1)
    best = min(ranges(costs, np.array([0, *cuts, rows])).max() for cuts in every)
    assert ranges(costs, balanced_bounds(costs, blocks)).max() == best


@pytest.mark.parametrize(("n_features", "own"), [(0, OWN_COST), (3, FEATURED_COST)])
def test_many_rows_of_few_ratings_weigh_as_much_as_few_of_many(n_features: int, own: int) -> None:
    counts = np.r_[np.full(10, 1000 + 99 * own), np.full(1000, 10), np.zeros(5)]
    costs = row_costs(counts, n_features)
    assert costs.tolist() == [1000 + 100 * own] * 10 + [10 + own] * 1000 + [UNRATED_COST] * 5
    assert balanced_bounds(costs, 2)[1] == 10


@settings(deadline=None)
@given(
    known=st.lists(st.integers(-50, 200), unique=True, max_size=60).map(sorted),
    wanted=st.lists(st.one_of(st.none(), st.integers(-60, 210)), max_size=60),
    spread=st.sampled_from([1, 10**12]),
)
def test_ids_are_looked_up_by_table_or_by_search(known: list[int], wanted: list[int | None], spread: int) -> None:
    rows = {id_ * spread: row for row, id_ in enumerate(known)}
    asked = [None if id_ is None else id_ * spread for id_ in wanted]
    found = lookup(pa.array(list(rows), pa.int64()), pa.array(asked, pa.int64()))
    assert found.tolist() == [-1 if id_ is None else rows.get(id_, -1) for id_ in asked]
