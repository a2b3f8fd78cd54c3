"""Cuts between blocks: balanced, and the best there are."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.blocks.partition import ROW_COST, balanced_bounds, lookup


def costs(counts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    edge = np.r_[0, np.cumsum(counts + ROW_COST)]
    return np.diff(edge[bounds])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5000), blocks=st.integers(1, 64), tail=st.floats(0.6, 3))
def test_heavy_tails_are_cut_evenly_where_no_row_is_in_the_way(seed: int, rows: int, blocks: int, tail: float) -> None:
    counts = np.ceil(np.random.default_rng(seed).pareto(tail, rows) * 10).clip(max=1e6).astype(np.int64)
    bounds = balanced_bounds(counts, blocks)
    assert bounds[0] == 0
    assert bounds[-1] == rows
    assert len(bounds) == blocks + 1
    assert (np.diff(bounds) >= 0).all()
    found = costs(counts, bounds)
    mean, largest = found.mean(), (counts + ROW_COST).max()
    assert found.max() <= max(1.5 * mean, largest, mean + largest)
    if largest <= mean / 2:
        assert found.max() <= 1.5 * mean


@pytest.mark.parametrize("where", [0, 500, 999])
@pytest.mark.parametrize("blocks", [2, 3, 8])
def test_one_item_in_every_users_list(where: int, blocks: int) -> None:
    counts = np.full(1000, 20)
    counts[where] = 20_000  # as much as all the others together
    found = costs(counts, balanced_bounds(counts, blocks))
    own = 20_000 + ROW_COST
    assert found.max() <= max(1.5 * found.mean(), own)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 7), blocks=st.integers(1, 4))
def test_no_cut_has_a_smaller_maximum(seed: int, rows: int, blocks: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 200, rows)
    every = itertools.combinations_with_replacement(range(rows + 1), blocks - 1)
    best = min(costs(counts, np.array([0, *cuts, rows])).max() for cuts in every)
    assert costs(counts, balanced_bounds(counts, blocks)).max() == best


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
