"""Entries by column become rows: whether the parts' rows follow one another or lie between one another's."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_spark.blocks import grouped as module
from recsys_spark.blocks.grouped import NO_NAMES, Grouped, to_csr
from recsys_spark.blocks.layout import Entries

START, STOP, USERS = 100, 117, 60


def entries(weighted: bool, seed: int = 5) -> Entries:
    rng = np.random.default_rng(seed)
    cells = rng.choice((STOP - START) * USERS, 400, replace=False)
    cells = np.r_[cells, cells[:7]]  # some cells twice
    weights = rng.random(len(cells)) if weighted else None
    return Entries.of(START + cells % (STOP - START), cells // (STOP - START), rng.integers(1, 6, len(cells)), weights)


def across(mine: Entries, named: bool) -> Grouped:
    """Entries whose columns are together, their rows as they are or as places in names."""
    turned = Grouped.of(mine._replace(rows=mine.cols, cols=mine.rows))._replace(across=True)
    if not named:
        return turned
    names, cols = np.unique(turned.cols, return_inverse=True)
    return turned._replace(names=names.astype(np.int32), cols=cols.astype(np.uint8))


def expected(mine: Entries) -> list[list[float]]:
    weights = mine.weights if mine.weights.size else np.ones(len(mine.rows))
    order = np.lexsort((weights, mine.values, mine.cols, mine.rows))
    return np.column_stack([mine.rows, mine.cols, mine.values, weights])[order].tolist()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("interleaved", [True, False])
def test_rows_of_parts_by_column(
    interleaved: bool, weighted: bool, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    in_turn = module._in_turn
    monkeypatch.setattr(module, "_in_turn", lambda parts: found.append(len(p := in_turn(parts))) or p)
    every = entries(weighted)
    which = every.cols % 3 if interleaved else every.cols // 20
    parts = [across(every.take(np.flatnonzero(which == k)), named) for k in (2, 0, 1)]
    csr = to_csr(parts, START, STOP)
    assert found == [1 if interleaved else 3]
    rows = np.repeat(np.arange(START, STOP), np.diff(csr.indptr))
    weights = csr.weights if weighted else np.ones(len(rows))
    assert np.column_stack([rows, csr.cols, csr.values, weights]).tolist() == expected(every)


def test_a_user_at_the_seam_of_two_parts_keeps_the_order_of_columns() -> None:
    one, two = (Grouped.of(Entries.of(rows, [START] * len(rows), [3.0] * len(rows))) for rows in ([4, 9], [9, 12]))
    parts = [part._replace(across=True, names=NO_NAMES) for part in (two, one)]
    csr = to_csr(parts, START, START + 1)
    assert csr.cols.tolist() == [4, 9, 9, 12]
