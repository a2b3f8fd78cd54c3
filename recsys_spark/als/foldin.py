"""Rows for a fitted model without training: a half-sweep over given ratings, the other side held fixed.

Users come last in an iteration, so a stored user is exactly the fold-in of their training ratings: the same bits, given
the same features. Items were solved before the users they now meet, so an item's fold-in is what the next iteration,
with its projection left as it is, would make of it: close to the stored row once a fit has converged, and not the same
bits. Neighbours of a graph have no part in a fold-in: the row is pulled to what its features predict.

Plain functions of arrays and tables: driver, executor or a server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.work import Order, View, sweep_block
from recsys_spark.blocks.assemble import assemble
from recsys_spark.blocks.grouped import Grouped
from recsys_spark.blocks.layout import SIDE_NAMES, USERS, Block, Entries, other
from recsys_spark.blocks.partition import lookup
from recsys_spark.errors import FitError
from recsys_spark.features.columns import flat_rows, refuse_twins
from recsys_spark.kernels.rows import ALL_SEEN, F32, F64, NO_F32, Csr, Other, Unseen, pad
from recsys_spark.kernels.unseen import GramGrid, gram_of, gram_sums

_GROWTH = 2.0**20  # as a fit leaves room for


class Folded(NamedTuple):
    """Rows of one side, by ascending id."""

    ids: pa.Array  # (n,)
    factors: F32  # (n, k)
    biases: F32  # (n,)
    counts: F64  # (n,) Σw of the ratings that were used


def side_of(model: FittedModel, side: int) -> SideModel:
    """The model's users or items."""
    return model.user if side == USERS else model.item


def fold_in(model: FittedModel, side: int, ratings: pa.Table, features: pa.Table | None = None) -> Folded:
    """Solve the rows of all ids in ``ratings`` and ``features``.

    Parameters
    ----------
    side : USERS or ITEMS
        The side that is solved.
    ratings : pa.Table of (id, other, rating[, weight])
        Ratings of ids of that side by or for ids of the other. Those of an ``other`` that the model does not know are
        left out. No nulls.
    features : pa.Table of (id, indices, values), optional
        Feature rows in the model's columns. An id that is not there has no features, and is pulled to zero.

    Raises
    ------
    DataError
        Feature rows that `features.columns.flat_rows` refuses, or two of one id.
    FitError
        A row has no solution.
    """
    block, ids = block_of(model, side, ratings, features)
    rows, swept = sweep_block(block, view_of(model, side, block), order_of(model, side))
    if swept.sums.failed >= 0:
        raise FitError(
            f"{SIDE_NAMES[side]} {ids[swept.sums.failed].as_py()} has no solution: its ratings do not determine it and "
            "λ is 0"
        )
    return Folded(ids, rows.factors, rows.biases, block.ratings.row_weights())


def block_of(model: FittedModel, side: int, ratings: pa.Table, features: pa.Table | None) -> tuple[Block, pa.Array]:
    """Ratings and features as a block of rows 0…n-1, and the rows' ids; errors as `fold_in`."""
    kind = side_of(model, side).ids.type
    found = [ratings["id"], *([features["id"]] if features is not None else [])]
    ids = pc.unique(pa.chunked_array([c for part in found for c in part.cast(kind).chunks], kind))
    ids = ids.take(pc.sort_indices(ids))
    others = side_of(model, other(side)).index(ratings["other"])
    known = np.flatnonzero(others >= 0)
    weights = ratings["weight"].to_numpy()[known] if "weight" in ratings.column_names else NO_F32
    entries = Entries.of(lookup(ids, ratings["id"])[known], others[known], ratings["rating"].to_numpy()[known], weights)
    if weights.size and (weights == 0).any():
        entries = entries.take(np.flatnonzero(entries.weights))
    described = []
    if features is not None and features.num_rows:
        name = SIDE_NAMES[side]
        refuse_twins(features["id"], name)
        lengths, indices, values = flat_rows(features, name, len(side_of(model, side).columns))
        owner = np.repeat(lookup(ids, features["id"]), lengths)
        described = [Grouped.of(Entries.of(owner, indices, values))]
    return assemble(side, 0, len(ids), [Grouped.of(entries)], described), ids


def order_of(model: FittedModel, side: int) -> Order:
    """The order of the side's half-sweep that the model was made by, but for its graph."""
    settings = model.settings.resolved()
    of_side, rows = settings.user if side == USERS else settings.item, side_of(model, side)
    return Order(
        side=side,
        rank=model.rank,
        mean=model.mu,
        reg=of_side.reg,
        reg_mode=of_side.reg_mode,
        reg_per_rating=of_side.reg_per_rating,
        reg_bias=of_side.reg_bias,
        learned=of_side.bias == "learned",
        projection=np.column_stack([rows.projection, rows.projection_bias]),
        scale=1.0,  # no sum of this pass is asked for
        clip=model.clip,
        held_out_scale=1.0,
        feedback=settings.feedback,
        unseen=_unseen(model, side),
        nonnegative=settings.nonnegative,
    )


def view_of(model: FittedModel, side: int, block: Block) -> View:
    """What the block's rows meet: the other side, and static biases of their own."""
    met, settings = side_of(model, other(side)), model.settings.resolved()
    order = order_of(model, side)
    kept = NO_F32
    if (settings.user if side == USERS else settings.item).bias == "static":
        # Made once, items first and then users, before anything is learned: shrunk means of what is left over.
        fixed = side == USERS and settings.item.bias == "static"
        biases = met.biases if fixed else np.zeros(len(met), np.float32)
        alone = replace(
            order, rank=0, learned=True, projection=np.zeros((len(order.projection), 1)), unseen=ALL_SEEN,
            nonnegative=False,
        )  # fmt: skip
        kept = sweep_block(block, View(Other(pad(met.factors), biases), NO_F32), alone)[0].biases
    return View(Other(pad(met.factors), met.biases), kept)


def merged(side: SideModel, folded: Folded) -> SideModel:
    """The side with these rows in it: new ones added, known ones replaced."""
    ids = pc.unique(pa.concat_arrays([side.ids, folded.ids.cast(side.ids.type)]))
    ids = ids.take(pc.sort_indices(ids))
    old, new = lookup(ids, side.ids), lookup(ids, folded.ids)
    factors = np.zeros((len(ids), side.rank), np.float32)
    biases, counts = np.zeros(len(ids), np.float32), np.zeros(len(ids))
    for place, source in ((old, side), (new, folded)):
        factors[place], biases[place], counts[place] = source.factors, source.biases, source.counts
    return replace(side, ids=ids, factors=factors, biases=biases, counts=counts)


def _unseen(model: FittedModel, side: int) -> Unseen:
    """The Gram of the other side's rows that have ratings, where cells without a rating are part of J.

    Its grid follows from the rows as they are, the fit's from a bound it had before: both are far finer than float32.
    """
    settings, met = model.settings.resolved(), side_of(model, other(side))
    implicit = settings.feedback is not None
    weight = 1.0 if implicit else settings.unobserved.weight
    if not weight:
        return ALL_SEEN
    target = 0.0 if implicit else settings.unobserved.target
    rated = np.r_[0, np.cumsum(met.counts > 0)].astype(np.int64)
    largest = max(float(np.abs(met.factors).max(initial=0.0)), float(np.abs(met.biases).max(initial=0.0)), 1.0)
    grid = GramGrid.within(_GROWTH * largest, len(met))
    sums = gram_sums(Csr(rated, np.empty(0, np.int32), NO_F32, NO_F32), met.factors, met.biases, grid)
    whole = target != "baseline"
    return Unseen(weight, whole, float(target) if whole else 0.0, implicit, gram_of(sums, grid, model.rank))
