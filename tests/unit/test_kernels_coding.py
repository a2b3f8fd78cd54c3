"""Coding of ratings against NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_spark.kernels.coding import (
    MAX_LEVELS,
    add_counts,
    count_kind,
    dense_places,
    group_kind,
    looked_up,
    split_columns,
    value_levels,
)
from recsys_spark.kernels.rows import NO_F32, read_only


@settings(deadline=None)
@given(ids=hnp.arrays(np.int32, st.integers(0, 60), elements=st.integers(-90, 90)), shift=st.sampled_from([0, 2**40]))
def test_places_in_a_dense_range_are_those_of_unique(ids, shift):
    ids = ids.astype(np.int64) + shift if shift else ids
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
    unique, codes = dense_places(*read_only(ids), low, high - low + 1)
    expected = np.unique(ids, return_inverse=True)
    for found, wanted, dtype in zip((unique, codes), expected, (np.int64, np.int32), strict=True):
        assert found.dtype == dtype
        assert found.tolist() == wanted.tolist()


@settings(deadline=None)
@given(values=hnp.arrays(np.float32, st.integers(0, 400), elements=st.floats(width=32)))
def test_levels_are_in_order_of_appearance_and_give_the_values_back_bit_by_bit(values):
    levels, codes = value_levels(values)
    bits = values.view(np.uint32)
    first = np.sort(np.unique(bits, return_index=True)[1])
    if len(first) > MAX_LEVELS:
        assert (len(levels), len(codes)) == (0, 0)
    else:
        assert levels.view(np.uint32).tolist() == bits[first].tolist()
        assert looked_up(*read_only(levels, codes)).view(np.uint32).tolist() == bits.tolist()


@pytest.mark.parametrize("distinct", [MAX_LEVELS, MAX_LEVELS + 1])
def test_there_are_at_most_256_levels(distinct):
    values = np.arange(distinct, dtype=np.float32).repeat(2)
    assert len(value_levels(values)[0]) == (distinct if distinct <= MAX_LEVELS else 0)


@st.composite
def rated(draw):
    """Users and items as places, kinds, values, and weights of which some are 0 or all are left out."""
    m = draw(st.integers(0, 50))
    users, items = (draw(hnp.arrays(np.int32, m, elements=st.integers(0, top))) for top in (6, 9))
    if draw(st.booleans()):
        users = np.sort(users)
    mine = draw(hnp.arrays(bool, m))
    weights = NO_F32
    if draw(st.booleans()):
        weights = draw(hnp.arrays(np.float32, m, elements=st.sampled_from([0.0, 0.5, 2.0])))
    return users, items, mine, np.arange(m, dtype=np.uint8), weights


@settings(deadline=None)
@given(rated=rated())
def test_a_kind_is_counted_and_grouped_by_user_stably(rated):
    users, items, mine, values, weights = rated
    of_users, of_items = np.zeros(7, np.int64), np.zeros(10, np.int64)
    count_kind(users, items, mine, of_users, of_items)
    assert of_users.tolist() == np.bincount(users[mine], minlength=7).tolist()
    assert of_items.tolist() == np.bincount(items[mine], minlength=10).tolist()
    names = np.arange(10, dtype=np.int32)[::-1].copy()
    n = int(mine.sum())
    target = np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n if weights.size else 0, np.float32)
    group_kind(np.r_[0, np.cumsum(of_users)][:-1], users, names, mine, (items, values, weights), target)
    order = np.flatnonzero(mine)[np.argsort(users[mine], kind="stable")]
    assert target[0].tolist() == names[items[order]].tolist()
    assert target[1].tolist() == values[order].tolist()
    assert target[2].tolist() == (weights[order].tolist() if weights.size else [])


@settings(deadline=None)
@given(rated=rated(), edges=st.lists(st.integers(0, 10), max_size=3))
def test_entries_are_split_by_the_blocks_of_their_columns_stably(rated, edges):
    users, cols, _, values, weights = rated
    users = np.sort(users)
    bounds = np.array([0, *sorted(edges), 10])
    block = (np.searchsorted(bounds, np.arange(10), side="right") - 1).astype(np.int32)
    m = len(cols)
    target = np.empty(m, np.int32), np.empty(m, np.uint8), np.empty(len(weights), np.float32)
    lengths = np.bincount(users, minlength=7)
    starts, counts = split_columns(block, bounds[:-1], lengths, (cols, values, weights), target)
    for b, (first, last) in enumerate(itertools.pairwise(bounds)):
        there = np.flatnonzero((cols >= first) & (cols < last))
        mine = slice(starts[b], starts[b + 1])
        assert target[0][mine].tolist() == (cols[there] - first).tolist()
        assert target[1][mine].tolist() == values[there].tolist()
        assert counts[b].tolist() == np.bincount(users[there], minlength=7).tolist()
        assert target[2][mine].tolist() == (weights[there].tolist() if weights.size else [])
        only = np.where(block == b, block, np.int32(-1))
        alone = tuple(np.empty_like(array) for array in target)
        starts_alone, counts_alone = split_columns(only, bounds[:-1], lengths, (cols, values, weights), alone)
        assert [array[slice(*starts_alone[b : b + 2])].tolist() for array in alone] == [
            array[mine].tolist() for array in target
        ]
        assert counts_alone[b].tolist() == counts[b].tolist()
        assert starts_alone[-1] == len(there)


@settings(deadline=None)
@given(places=hnp.arrays(np.uint16, st.integers(0, 30), elements=st.integers(0, 4)))
def test_what_places_stand_for_is_looked_up_and_counted(places):
    table = np.array([5, 0, 3, 3, 1], np.int32)
    counts = np.ones(6, np.int64)
    add_counts(counts, *read_only(table, places))
    assert looked_up(*read_only(table, places)).tolist() == table[places].tolist()
    assert counts.tolist() == (1 + np.bincount(table[places], minlength=6)).tolist()
