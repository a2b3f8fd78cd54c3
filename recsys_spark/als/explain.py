"""Why a score is what it is: lines that add up to it. Plain arrays in float64; driver, executor or a server.

A user's row is θ = (A + Λ)⁻¹(b + Λm) with b = Σ_j w_j y_j z_j over the rated items j (docs/model.md), so

    q_i · p_u = Σ_j g · z_j w_j y_j + Σ_f x_f g · Λ W̃_f,    g = (A + Λ)⁻¹ [q_i, 0]

is a sum over the user's ratings and features. A rating's part is what the score would lose if its pull were taken out
and its weight in A left as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.als.foldin import block_of, order_of, view_of
from recsys_spark.als.model import FittedModel
from recsys_spark.als.terms import regularisation, training
from recsys_spark.als.work import Order, sweep_block
from recsys_spark.blocks.layout import USERS
from recsys_spark.errors import DataError
from recsys_spark.kernels.rows import F64, Csr

MEAN, USER_BIAS, ITEM_BIAS, RATING, FEATURE, UNRATED = (
    "mean", "user bias", "item bias", "rating", "feature", "unrated items",
)  # fmt: skip


class Line(NamedTuple):
    """One part of a score."""

    term: str
    row: int  # of the rated item, -1 where it is none
    name: str  # of the feature, "" where it is none
    contribution: float


class _System(NamedTuple):
    """A user's normal equations, apart: each entry's share of b and all cells' without a rating."""

    a: F64  # (size, size) A
    each: F64  # (m, size) a rating's term of b
    cells: F64  # (size,) that of cells without a rating


def explain(model: FittedModel, item: int, ratings: pa.Table, features: pa.Table | None = None) -> list[Line]:
    """Lines of one user's score for an item: mean, biases, one for each rating, one for each feature.

    Their sum is the score, unclipped, that `foldin.fold_in` of the same ratings leads to.

    Parameters
    ----------
    item : int
        Row of the item.
    ratings, features : pa.Table
        As `foldin.fold_in`, of one user.

    Raises
    ------
    DataError
        The tables are not of one user.
    """
    block, ids = block_of(model, USERS, ratings, features)
    if len(ids) != 1:
        raise DataError(f"an explanation is of one user, found ratings and features of {len(ids)}")
    order, view = order_of(model, USERS), view_of(model, USERS, block)
    kept = float(view.kept[0]) if view.kept.size else 0.0
    rows, rank = training(block, order.feedback), model.rank
    system = _system(model, rows, order, kept)
    size = len(system.cells)
    precision = np.full(size, regularisation(block, order).factor[0])
    precision[rank:] = order.reg_bias
    x, tilde = block.features, order.projection[:, :size]
    free = np.ones(size, bool)
    if not len(rows.values):  # the row is its prior, whatever Λ
        precision = np.ones(size)
    pulls = x.values[:, None].astype(np.float64) * tilde[x.cols] * precision
    if order.nonnegative:  # entries that lie on their bound take no part
        free[:rank] = sweep_block(block, view, order)[0].factors[0] > 0
    whole = (system.a + np.diag(precision))[np.ix_(free, free)]
    inverse = np.zeros((size, size))
    inverse[np.ix_(free, free)] = np.linalg.inv(whole)
    theta = inverse @ (system.each.sum(0) + system.cells + pulls.sum(0))
    g = inverse[:, :rank] @ model.item.factors[item].astype(np.float64)
    lines = [
        Line(MEAN, -1, "", model.mu),
        Line(USER_BIAS, -1, "", float(theta[rank]) if order.learned else kept),
        Line(ITEM_BIAS, -1, "", float(model.item.biases[item])),
    ]
    lines += [Line(RATING, int(c), "", float(v)) for c, v in zip(rows.cols, system.each @ g, strict=True)]
    names = [model.user.columns[f].name for f in x.cols]
    lines += [Line(FEATURE, -1, name, float(v)) for name, v in zip(names, pulls @ g, strict=True)]
    return [*lines, Line(UNRATED, -1, "", float(system.cells @ g))] if order.unseen.weight else lines


def _system(model: FittedModel, rows: Csr, order: Order, kept: float) -> _System:
    rank, unseen = model.rank, order.unseen
    size = rank + order.learned
    z = np.column_stack([model.item.factors[rows.cols], np.ones(len(rows.cols))]).astype(np.float64)[:, :size]
    w = rows.weights.astype(np.float64) if rows.weights.size else np.ones(len(rows.cols))
    met = model.item.biases[rows.cols].astype(np.float64)
    offset = model.mu + kept
    y = rows.values - offset - met
    a, each = (z * w[:, None]).T @ z, z * (w * y)[:, None]
    if not unseen.weight or not len(w):
        return _System(a, each, np.zeros(size))
    gram, once = unseen.gram, np.ones(len(w))
    if not unseen.each:  # a pair given twice is one cell
        once[1:] = ~rows.repeated()
    taken = unseen.weight * once
    if not unseen.whole:
        a[:rank, :rank] += unseen.weight * gram[:rank, :rank] - (z[:, :rank] * taken[:, None]).T @ z[:, :rank]
        return _System(a, each, np.zeros(size))
    a += unseen.weight * gram[:size, :size] - (z * taken[:, None]).T @ z
    far = unseen.target - offset
    each = each - z * (taken * (far - met))[:, None]
    return _System(a, each, unseen.weight * (far * gram[:size, rank] - gram[:size, rank + 1]))
