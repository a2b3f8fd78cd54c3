"""What is done with one block at a time: plain functions of a block, the rows it refers to, and an order (executor).

An order is small: scalars and projections. Factors come through the exchange, ratings through the block store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Flag, auto
from typing import NamedTuple

import numpy as np

from recsys_spark.als.keep import Keep
from recsys_spark.als.terms import (
    effective_counts,
    energies,
    extra_of,
    most_repeats,
    precisions,
    preferences,
    regularisation,
    training,
    variables,
)
from recsys_spark.blocks.layout import USERS, Block
from recsys_spark.kernels.graph import degrees, edge_energy
from recsys_spark.kernels.predict import score_pairs
from recsys_spark.kernels.prior import deviations, prior_means
from recsys_spark.kernels.relax import beyond, lengths_within
from recsys_spark.kernels.rows import ALL_SEEN, BOOL, F32, F64, I64, NO_F32, U64, Csr, Other, Prior, Unseen, padded_rank
from recsys_spark.kernels.start import initial_factors
from recsys_spark.kernels.sweep import Bias, SweepSums, half_sweep, sum_by_row
from recsys_spark.kernels.systems import systems_shape
from recsys_spark.kernels.unseen import NO_GRAM, GramGrid, gram_sums, rescore

NO_OWN: F32 = np.zeros((0, 0), np.float32)


class Needs(Flag):
    """What of other rows than ratings a task wants to see."""

    NOTHING = 0
    OTHER = auto()  # the other side's rows
    OWN = auto()  # what features leave over of its own side's
    MINE = auto()  # the block's rows as they are


class Rows(NamedTuple):
    """The rows of one block: as started, solved or given."""

    start: int
    factors: F32  # (n, k)
    biases: F32  # (n,)
    own: F32 = NO_OWN  # (n, k + 1) what features leave over of them, where other blocks of the side need it


NO_OTHER = Other(NO_OWN, NO_F32)
NO_ROWS = Rows(0, NO_OWN, NO_F32)


class View(NamedTuple):
    """What the exchange gives a block of what its task needs."""

    other: Other = NO_OTHER  # the rows that the block's columns number
    kept: F32 = NO_F32  # (n,) its own biases where they are held fixed, else (0,)
    keep: Keep | None = None  # where sums of this pass may lie for the next
    own: F32 = NO_OWN  # (N, k + 1) what features leave over of rows that its graph's columns number, if published
    own_start: int = 0  # where in ``own`` its first row stands
    mine: Rows = NO_ROWS
    given: Rows = NO_ROWS  # rows of a model for the block, zero for ids that it does not know


@dataclass(frozen=True, eq=False)
class Step:
    """How far beyond their solution rows are taken, from where they were."""

    length: float  # ω: 1 is the solution
    projection: F64  # (d, k + 1) that goes with the rows there
    scored: bool  # whether their squared error, a pass over the ratings, is asked for


@dataclass(frozen=True)
class Order:
    """How the rows of one side are to be solved in this pass."""

    side: int
    rank: int
    mean: float
    reg: float
    reg_mode: str
    reg_per_rating: float
    reg_bias: float
    learned: bool
    projection: F64  # (d, k + 1)
    scale: float
    clip: tuple[float, float]
    held_out_scale: float
    ticket: str = ""  # of the projection's pass just before, whose sums may be at hand
    feedback: float | None = None  # α of implicit feedback
    unseen: Unseen = ALL_SEEN
    gram_grid: GramGrid | None = None  # of the solved rows' Gram, where the other side's next pass needs it
    graph_weight: float = 0.0
    nonnegative: bool = False
    biases_only: bool = False  # factors stay as they are
    step: Step | None = None

    @property
    def shows_own(self) -> bool:
        """Whether the side's own blocks need what features leave over of its rows."""
        return self.graph_weight > 0 or self.nonnegative

    @property
    def needs(self) -> Needs:
        """What a pass over the side's ratings needs."""
        needs = Needs.OTHER | Needs.OWN if self.shows_own else Needs.OTHER
        return needs | Needs.MINE if self.biases_only or self.step else needs


class Counts(NamedTuple):
    """What is counted of each row."""

    weights: F64  # (n,) Σw
    effective: F64  # (n,) N of λ(n)
    rated: BOOL  # (n,) whether it has ratings


class Survey(NamedTuple):
    """What a block's data bounds and counts: maxima and integers only, so that merging has no order."""

    start: int
    rows: int
    counts: Counts | None  # where asked for
    ratings: int
    held_out: int
    low: float
    high: float
    max_weight: float
    max_row_weight: float
    most_repeats: int
    max_degree: float  # max over rows of Σ_j S_ij
    max_feature: float
    max_feature_row: float  # max over rows of Σ|x|


class RowSums(NamedTuple):
    """Σ w r and Σ w of a block, on the grid of the pass."""

    weighted: int
    weight: int


class Shown(NamedTuple):
    """What there is to know of a block's rows, beside the rows."""

    gram: I64  # `unseen.gram_sums` where the order wants them
    largest: float  # max |q_ia|
    largest_own: float


class Swept(NamedTuple):
    """What there is to know of a block's solution."""

    start: int
    sums: SweepSums
    held_out_sse: int
    shown: Shown


def survey_block(block: Block, view: View, feedback: float | None = None, counted: bool = True) -> Survey:
    """Read every rating and feature once; ``counted``, with an entry for each row."""
    x = block.features
    fitted, held_out = training(block, feedback), block.held_out.values
    owner = np.repeat(np.arange(block.n_rows), np.diff(x.indptr))
    row_features = np.bincount(owner, weights=np.abs(x.values.astype(np.float64)), minlength=block.n_rows)
    seen = [a for a in (fitted.values, held_out if feedback is None else preferences(held_out)) if a.size]
    effective, counts = effective_counts(block, feedback), None
    if counted:
        weights = effective if feedback is None else block.ratings.row_weights()
        counts = Counts(weights, effective, block.ratings.occupied())
    return Survey(
        block.start,
        block.n_rows,
        counts,
        len(fitted.values),
        len(held_out),
        float(min((a.min() for a in seen), default=np.inf)),
        float(max((a.max() for a in seen), default=-np.inf)),
        float(fitted.weights.max()) if fitted.weights.size else 1.0,
        float(effective.max(initial=0.0)),
        most_repeats(fitted),
        float(degrees(block.graph).max(initial=0.0)),
        float(np.abs(x.values).max(initial=0.0)),
        float(row_features.max(initial=0.0)),
    )


def sum_block(block: Block, view: View, scale: float, feedback: float | None = None) -> RowSums:
    """The sums of μ."""
    return RowSums(*sum_by_row(training(block, feedback), scale))


def start_block(block: Block, view: View, orders: tuple[Order, Order], seed: int) -> tuple[Rows, int]:
    """`started` rows of a block, as its side's order says."""
    order = orders[block.side]
    counts = effective_counts(block, order.feedback)
    factors, energy = started(block.keys, block.ratings.occupied(), counts, order, seed)
    return Rows(block.start, factors, np.zeros(block.n_rows, np.float32)), energy


def started(keys: U64, rated: BOOL, counts: F64, order: Order, seed: int) -> tuple[F32, int]:
    """Initial factors (n, k) from ids' keys and seed; their energy Σ λ_i ‖q_i‖² on the order's grid.

    ``counts`` are N of λ(n). Rows without ratings start at their prior: nothing else need ever pull them to it.
    """
    factors = initial_factors(keys, order.rank, seed, order.side)
    factors[~rated] = 0.0
    factors = np.abs(factors) if order.nonnegative else factors
    energy = precisions(counts, order) * np.einsum("ij,ij->i", factors, factors, dtype=np.float64)
    return factors, int(np.rint(energy * order.scale).astype(np.int64).sum())


def show_block(block: Block, view: View, order: Order) -> tuple[Rows, Shown]:
    """What a sweep that led to the rows as they are would have left for others."""
    return _shown(block, order, view.mine.factors, view.mine.biases)


def _shown(block: Block, order: Order, factors: F32, biases: F32) -> tuple[Rows, Shown]:
    gram, own = NO_GRAM, NO_OWN
    if order.gram_grid is not None:
        gram = gram_sums(block.ratings, factors, biases, order.gram_grid)
    if order.shows_own:
        own = deviations(block.features, order.projection, factors, biases)
    largest, largest_own = (float(np.abs(array).max(initial=0.0)) for array in (factors, own))
    return Rows(block.start, factors, biases, own), Shown(gram, largest, largest_own)


def sweep_block(block: Block, view: View, order: Order) -> tuple[Rows, Swept]:
    """Solve the block's rows, and score its validation ratings with them."""
    rows, reg = training(block, order.feedback), regularisation(block, order)
    prior = Prior(block.features, order.projection)
    bias = Bias(order.mean, order.learned, view.kept)
    systems = view.keep.take(order.ticket, systems_of(block, order)) if view.keep and order.ticket else None
    factors, biases, sums = half_sweep(
        rows, view.other, prior, reg, bias, order.rank, order.scale, systems, extra_of(block, view, order, reg)
    )
    if sums.failed >= 0:
        return Rows(block.start, factors, biases), Swept(block.start, sums, 0, Shown(NO_GRAM, 0.0, 0.0))
    if order.step:
        step, order = order.step, replace(order, projection=order.step.projection)
        factors, biases, sums = _beyond(step, block, rows, view, order, factors, biases, sums)
    held_out = 0
    if block.side == USERS and len(block.held_out.values):
        held_out = _held_out_sse(block, view.other, factors, biases, order)
    if order.biases_only:
        factors = view.mine.factors
    solved, shown = _shown(block, order, factors, biases)
    return solved, Swept(block.start, sums, held_out, shown)


def _beyond(
    step: Step, block: Block, rows: Csr, view: View, order: Order, factors: F32, biases: F32, sums: SweepSums
) -> tuple[F32, F32, SweepSums]:
    """Rows beyond their solution, and their sums in place of the solution's."""
    was, lengths = view.mine, np.full(block.n_rows, step.length)
    if order.nonnegative:
        lengths = lengths_within(was.factors, factors, step.length)
    factors, biases = beyond(was.factors, factors, lengths), beyond(was.biases, biases, lengths)
    idle, means = ~variables(block, order), prior_means(block.features, order.projection)
    factors[idle] = means[idle, :-1]
    if order.learned:
        biases[idle] = means[idle, -1]
    if order.nonnegative:
        np.maximum(factors, 0.0, out=factors)
    reg_factor, reg_bias = energies(block, factors, biases, order)
    sse, unobserved = sums.sse, sums.unobserved
    if step.scored:
        sse, unobserved = rescore(rows, view.other, factors, biases, order.mean, order.unseen, order.scale)
    max_bias = float(np.abs(biases).max(initial=0.0))
    return factors, biases, SweepSums(sse, reg_factor, reg_bias, max_bias, sums.failed, unobserved)


def _held_out_sse(block: Block, items: Other, factors: F32, biases: F32, order: Order) -> int:
    held = block.held_out
    users = np.repeat(np.arange(block.n_rows), np.diff(held.indptr))
    item_factors = items.factors[:, : order.rank]
    predicted = score_pairs(
        order.mean, factors, biases, np.ascontiguousarray(item_factors), items.biases, users, held.cols.astype(np.int64)
    )
    values = held.values if order.feedback is None else preferences(held.values)
    errors = values - np.clip(predicted, np.float32(order.clip[0]), np.float32(order.clip[1])).astype(np.float64)
    return int(np.rint(errors * errors * order.held_out_scale).astype(np.int64).sum())


def edge_block(block: Block, view: View, scale: float) -> int:
    """The graph's energy without α (`kernels.graph`)."""
    return edge_energy(block.graph, view.own, view.own_start, scale)


def systems_of(block: Block, order: Order) -> tuple[int, int]:
    """Shape of what a projection's pass keeps for the half-sweep."""
    return systems_shape(block.ratings, padded_rank(order.rank))
