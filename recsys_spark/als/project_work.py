"""What a projection's passes do with one block: sums of its normal equations, executor. See `als.project`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from recsys_spark.als.terms import extra_of, regularisation, training
from recsys_spark.als.work import Order, View, systems_of
from recsys_spark.blocks.layout import Block
from recsys_spark.kernels.held import held_gradient, held_product, held_sums
from recsys_spark.kernels.projection import (
    ProjectionSums,
    Scales,
    projection_gradient,
    projection_product,
    projection_sums,
)
from recsys_spark.kernels.rows import F32, F64, NO_F32, Prior
from recsys_spark.kernels.systems import NO_SYSTEMS


class Projected(NamedTuple):
    """A block's part of the projection's normal equations."""

    start: int
    sums: ProjectionSums


def project_block(block: Block, view: View, order: Order, scales: Scales) -> Projected:
    """The block's part of the projection's normal equations, at the current other side."""
    return _keeping(block, view, order, scales, projection_sums)


def gradient_block(block: Block, view: View, order: Order, scales: Scales) -> Projected:
    """The block's part of their right-hand side."""
    return _keeping(block, view, order, scales, projection_gradient)


def product_block(block: Block, view: View, order: Order, scales: Scales, direction: F64) -> Projected:
    """The block's part of their left-hand side times a direction (d, k + 1)."""
    reg, kept = regularisation(block, order), NO_F32 if order.learned else view.kept
    systems = view.keep.take(order.ticket, systems_of(block, order)) if view.keep else None
    sums = projection_product(
        training(block, order.feedback), block.features, direction, view.other, reg, order.mean, order.learned, kept,
        order.rank, scales, systems, extra_of(block, view, order, reg),
    )  # fmt: skip
    return Projected(block.start, sums)


def held_block(block: Block, view: View, order: Order, scales: Scales, whole: bool) -> Projected:
    """The same where rows are held fixed: both sides, or not ``whole``, the right-hand side and the left's diagonal."""
    reg = regularisation(block, order)
    own = view.own[view.own_start : view.own_start + block.n_rows]
    sums = (held_sums if whole else held_gradient)(
        block.ratings, block.features, own, reg, order.learned, len(order.projection),
        scales, extra_of(block, view, order, reg),
    )  # fmt: skip
    return Projected(block.start, sums)


def held_product_block(block: Block, view: View, order: Order, scales: Scales, direction: F64) -> Projected:
    """Their left-hand side times a direction (d, k + 1)."""
    reg = regularisation(block, order)
    extra = extra_of(block, view, order, reg)
    return Projected(
        block.start, held_product(block.ratings, block.features, direction, reg, order.learned, scales, extra)
    )


def _keeping(
    block: Block, view: View, order: Order, scales: Scales, sums_of: Callable[..., ProjectionSums]
) -> Projected:
    rows, reg = training(block, order.feedback), regularisation(block, order)
    prior, extra = Prior(block.features, order.projection), extra_of(block, view, order, reg)
    kept = NO_F32 if order.learned else view.kept
    made: list[ProjectionSums] = []

    def fill(systems: F32) -> None:
        made.append(
            sums_of(rows, prior, view.other, reg, order.mean, order.learned, kept, order.rank, scales, systems, extra)
        )

    if view.keep:
        view.keep.make(order.ticket, systems_of(block, order), fill)
    else:
        fill(NO_SYSTEMS)
    return Projected(block.start, made[0])
