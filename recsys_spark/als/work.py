"""What is done with one block at a time: plain functions of a block, the rows it refers to, and an order (executor).

An order is small: scalars and projections. Factors come through the exchange, ratings through the block store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recsys_spark.als.keep import Keep
from recsys_spark.blocks.layout import USERS, Block
from recsys_spark.kernels.predict import score_pairs
from recsys_spark.kernels.projection import ProjectionSums, Scales, projection_sums
from recsys_spark.kernels.rows import F32, F64, NO_F32, Other, Prior, Reg, padded_rank
from recsys_spark.kernels.start import initial_factors
from recsys_spark.kernels.sweep import Bias, SweepSums, half_sweep, row_precisions, sum_by_row
from recsys_spark.kernels.systems import NO_SYSTEMS, systems_shape


class View(NamedTuple):
    """What the exchange gives a block: the other side's rows, and its own rows' biases where they are held fixed."""

    other: Other
    kept: F32  # (n,) or (0,)
    keep: Keep | None = None  # where sums of this pass may lie for the next


@dataclass(frozen=True)
class Order:
    """How the rows of one side are to be solved in this pass."""

    side: int
    rank: int
    mean: float
    reg: float
    reg_mode: str
    reg_bias: float
    learned: bool
    projection: F64  # (d, k + 1)
    scale: float
    clip: tuple[float, float]
    held_out_scale: float
    ticket: str = ""  # of the projection's pass just before, whose sums may be at hand


class Survey(NamedTuple):
    """What a block's data bounds and counts: maxima and integers only, so that merging has no order."""

    start: int
    counts: F64  # (n,) Σw of each row
    ratings: int
    held_out: int
    low: float
    high: float
    max_weight: float
    max_row_weight: float
    max_feature: float
    max_feature_row: float  # max over rows of Σ|x|


class RowSums(NamedTuple):
    """Σ w r and Σ w of a block, on the grid of the pass."""

    weighted: int
    weight: int


class Started(NamedTuple):
    """Initial factors of a block and their energy Σ λ_i ‖q_i‖² over rows with ratings, on the grid."""

    start: int
    factors: F32
    energy: int


class Swept(NamedTuple):
    """A block's solution."""

    start: int
    factors: F32
    biases: F32
    sums: SweepSums
    held_out_sse: int


class Projected(NamedTuple):
    """A block's part of the projection's normal equations."""

    start: int
    sums: ProjectionSums


def survey_block(block: Block, view: View | None) -> Survey:
    """Read every rating and feature once."""
    r, x = block.ratings, block.features
    counts = r.row_weights()
    owner = np.repeat(np.arange(block.n_rows), np.diff(x.indptr))
    row_features = np.bincount(owner, weights=np.abs(x.values.astype(np.float64)), minlength=block.n_rows)
    seen = [a for a in (r.values, block.held_out.values) if a.size]
    return Survey(
        block.start,
        counts,
        len(r.values),
        len(block.held_out.values),
        float(min((a.min() for a in seen), default=np.inf)),
        float(max((a.max() for a in seen), default=-np.inf)),
        float(r.weights.max()) if r.weights.size else 1.0,
        float(counts.max(initial=0.0)),
        float(np.abs(x.values).max(initial=0.0)),
        float(row_features.max(initial=0.0)),
    )


def sum_block(block: Block, view: View | None, scale: float) -> RowSums:
    """The sums of μ."""
    return RowSums(*sum_by_row(block.ratings, scale))


def start_block(block: Block, view: View | None, order: Order, seed: int) -> Started:
    """Initial factors from ids and seed."""
    factors = initial_factors(block.keys, order.rank, seed, block.side)
    counts = block.ratings.row_weights()
    lam = row_precisions(counts, order.reg, order.reg_mode)
    energy = np.where(counts > 0, lam * np.einsum("ij,ij->i", factors, factors, dtype=np.float64), 0.0)
    return Started(block.start, factors, int(np.rint(energy * order.scale).astype(np.int64).sum()))


def sweep_block(block: Block, view: View, order: Order) -> Swept:
    """Solve the block's rows, and score its validation ratings with them."""
    reg = Reg(row_precisions(block.ratings.row_weights(), order.reg, order.reg_mode), order.reg_bias)
    prior = Prior(block.features, order.projection)
    bias = Bias(order.mean, order.learned, view.kept)
    systems = view.keep.take(order.ticket, _systems_shape(block, order)) if view.keep and order.ticket else None
    factors, biases, sums = half_sweep(block.ratings, view.other, prior, reg, bias, order.rank, order.scale, systems)
    held_out = 0
    if block.side == USERS and len(block.held_out.values) and sums.failed < 0:
        held_out = _held_out_sse(block, view.other, factors, biases, order)
    return Swept(block.start, factors, biases, sums, held_out)


def _held_out_sse(block: Block, items: Other, factors: F32, biases: F32, order: Order) -> int:
    held = block.held_out
    users = np.repeat(np.arange(block.n_rows), np.diff(held.indptr))
    item_factors = items.factors[:, : order.rank]
    predicted = score_pairs(
        order.mean, factors, biases, np.ascontiguousarray(item_factors), items.biases, users, held.cols.astype(np.int64)
    )
    errors = held.values - np.clip(predicted, np.float32(order.clip[0]), np.float32(order.clip[1])).astype(np.float64)
    return int(np.rint(errors * errors * order.held_out_scale).astype(np.int64).sum())


def project_block(block: Block, view: View, order: Order, scales: Scales) -> Projected:
    """The block's part of the projection's normal equations, at the current other side."""
    reg = Reg(row_precisions(block.ratings.row_weights(), order.reg, order.reg_mode), order.reg_bias)
    prior = Prior(block.features, order.projection)
    kept = NO_F32 if order.learned else view.kept
    made: list[ProjectionSums] = []

    def fill(systems: F32) -> None:
        made.append(
            projection_sums(
                block.ratings, prior, view.other, reg, order.mean, order.learned, kept, order.rank, scales, systems
            )
        )

    if view.keep:
        view.keep.make(order.ticket, _systems_shape(block, order), fill)
    else:
        fill(NO_SYSTEMS)
    return Projected(block.start, made[0])


def _systems_shape(block: Block, order: Order) -> tuple[int, int]:
    return systems_shape(block.ratings, padded_rank(order.rank))
