"""The projection of a side solved: directly, or where that is too large by conjugate gradients, a pass each. Driver."""

from __future__ import annotations

import numpy as np

from recsys_spark.als.executor import Executor
from recsys_spark.als.orders import Orders
from recsys_spark.als.work import Order
from recsys_spark.kernels.conjugate import conjugate_gradients
from recsys_spark.kernels.exact import off_grid
from recsys_spark.kernels.held import solve_held
from recsys_spark.kernels.projection import Scales, solve_projection
from recsys_spark.kernels.rows import F64

# Unknowns of a direct solve: each block sends back a quarter of their square in int64, and the driver factorises them.
MAX_UNKNOWNS = 6000


def next_projection(executor: Executor, orders: Orders, order: Order) -> F64:
    """W̃ (d, k + 1) that minimises J over the side's rows and projection together (`kernels.projection`).

    Where factors may not be negative, over the projection alone, the rows held fixed (`kernels.held`). Too large for a
    direct solve, it is only approached, but J does not rise.
    """
    penalty, scales = orders.penalty(order.side), orders.projection_scales(order.side)
    current = order.projection[:, : penalty.shape[1]]
    out = np.zeros_like(order.projection)
    if not penalty.size:  # neither factors nor a learned bias to predict
        return out
    d, size = penalty.shape
    held = order.nonnegative
    if d * (2 if held else size) > MAX_UNKNOWNS:  # held, factors share one system
        solved = current + _step(executor, orders, order, scales, penalty, current)
    elif held:
        sums = executor.held_sums(order, scales, whole=True)
        with executor.meter.during("driver"):
            solved = solve_held(sums.normal, sums.right, order.rank, scales, penalty, current)
    else:
        sums = executor.projection_sums(order, scales)
        with executor.meter.during("driver"):
            solved = solve_projection(sums.normal, sums.right, scales, penalty, current)
    out[:, : solved.shape[1]] = solved
    return out


def _step(executor: Executor, orders: Orders, order: Order, scales: Scales, penalty: F64, current: F64) -> F64:
    """About Newton's step from the current projection."""
    held, size = order.nonnegative, penalty.shape[1]
    sums = executor.held_sums(order, scales, whole=False) if held else executor.projection_gradient(order, scales)
    diagonal = off_grid(sums.normal, scales.normal)
    if held:  # a column for the factors, one for the bias
        diagonal = np.column_stack([np.repeat(diagonal[:, :1], order.rank, axis=1), diagonal[:, 1:]])[:, :size]

    def product(direction: F64) -> F64:
        padded = np.zeros_like(order.projection)
        padded[:, :size] = direction
        grid = orders.product_scales(order.side, padded)
        found = (executor.held_product if held else executor.projection_product)(order, grid, padded)
        return penalty * direction - off_grid(found.right, grid.right)

    return conjugate_gradients(
        product, off_grid(sums.right, scales.right) - penalty * current, diagonal + penalty
    )  # fmt: skip
