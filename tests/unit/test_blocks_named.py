"""Blocks that find out their rows by themselves are those of a plan of all ids; no Spark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import graph_table, problem
from recsys_spark.blocks.chunks import Tally, chunks_of
from recsys_spark.blocks.layout import ITEMS, USERS, Block
from recsys_spark.blocks.named import Answer, Ask, Known, Own, answers, merge_named, names
from recsys_spark.blocks.pieces import Piece, build_blocks, chunk_pieces, feature_pieces, graph_pieces
from recsys_spark.blocks.plan import Cuts, Layout, Plan, SideCuts, SidePlan
from recsys_spark.errors import DataError

P = problem(users=12, items=9)
P.graphs[USERS] = graph_table(np.eye(5)[::-1].astype(np.float32), P.user_features["id"].to_numpy()[3:8])
FEATURES = {USERS: P.user_features, ITEMS: P.item_features}


def pieces_of(cuts: Cuts, batch: int) -> dict[int, list[Piece]]:
    made: dict[int, list[Piece]] = {slot: [] for slot in range(cuts.grid.slots)}
    found = [feature_pieces(t.to_batches(), cuts, side) for side, t in FEATURES.items()]
    found += [graph_pieces(t.to_batches(), cuts, side) for side, t in P.graphs.items()]
    for table in P.ratings.to_batches(max_chunksize=batch):
        found += [chunk_pieces(c, cuts) for c in chunks_of(pa.Table.from_batches([table]), (Tally(), Tally()))]
    for piece in (piece for pieces in found for piece in pieces):
        made[piece.slot].append(Piece.decode(piece.slot, piece.encode()))
    return made


def merged(cuts: Cuts, batch: int) -> tuple[Layout, list[Block]]:
    """All blocks, as the tasks of a cluster would make them together."""
    grid, pieces = cuts.grid, pieces_of(cuts, batch)
    told = [each for slot, side, _ in grid.blocks() for each in names(slot, side, pieces[slot], cuts)]
    owned, asked = [t for t in told if isinstance(t, Own)], [t for t in told if isinstance(t, Ask)]
    sizes = np.array([own.rows for own in sorted(owned)])
    layout = Layout(cuts, (np.r_[0, np.cumsum(sizes[: grid.users])], np.r_[0, np.cumsum(sizes[grid.users :])]))
    heard = list(answers(owned, asked[::-1], layout))

    def known(slot: int) -> Known:
        mine: list[list] = [[e for e in every if e.slot == slot] for every in (owned, asked, heard[::-1])]
        return Known.of(mine[0][0], *mine[1:])

    return layout, [
        merge_named(pieces[slot][::-1], known(slot), side, int(layout.bounds[side][block]))
        for slot, side, block in grid.blocks()
    ]


@settings(deadline=None)
@given(
    user_cuts=st.lists(st.integers(-5, 10_005), max_size=4).map(sorted),
    item_cuts=st.lists(st.integers(-5, 10_005), max_size=4).map(sorted),
    beyond=st.integers(0, 1),
    batch=st.sampled_from([5, 1000]),
)
def test_blocks_are_those_of_a_plan_of_all_ids(
    user_cuts: list[int], item_cuts: list[int], beyond: int, batch: int
) -> None:
    sides = [SideCuts(pa.array(c, pa.int64()), len(c) + 1 + beyond, d) for c, d in ((user_cuts, 2), (item_cuts, 3))]
    layout, blocks = merged(Cuts(*sides), batch)
    whole = P.plan()
    plan = Plan(*(SidePlan(whole.side(s).ids, layout.bounds[s], whole.side(s).n_features) for s in (USERS, ITEMS)))
    expected = build_blocks(plan, P.ratings.to_batches(), FEATURES, P.graphs)
    for (_, side, block), mine, theirs in zip(plan.grid.blocks(), blocks, expected, strict=True):
        ids = plan.side(side).ids_of(block)
        assert mine.to_bytes() == theirs.localised(ids).to_bytes()
        assert mine.ids.equals(ids)


def test_ratings_that_changed_since_blocks_were_asked_are_refused() -> None:
    cuts = Cuts(SideCuts(pa.array([], pa.int64()), 1, 2), SideCuts(pa.array([], pa.int64()), 1, 3))
    pieces = pieces_of(cuts, 1000)[0]
    own, *asked = names(0, USERS, pieces, cuts)
    assert isinstance(own, Own)
    heard = [Answer(0, a.side, a.source, np.full(len(a.ids), -1, np.int32)) for a in asked if isinstance(a, Ask)]
    with pytest.raises(DataError, match="ids were not there when the ids were indexed"):
        merge_named(pieces, Known.of(own, [a for a in asked if isinstance(a, Ask)], heard), USERS, 0)


def test_more_rows_than_can_be_numbered_are_refused() -> None:
    cuts = Cuts(SideCuts(pa.array([], pa.int64()), 1, 0), SideCuts(pa.array([], pa.int64()), 1, 0))
    with pytest.raises(DataError, match="2147483648 item ids are more than the 2147483647"):
        Layout(cuts, (np.array([0, 1]), np.array([0, 2**31])))


def test_a_block_says_that_it_does_not_hold_its_ids() -> None:
    block = build_blocks(P.plan(), P.ratings.to_batches(), FEATURES)[0]
    with pytest.raises(ValueError, match="does not hold its rows' ids: it is not localised"):
        _ = block.ids
