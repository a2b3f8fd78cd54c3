"""What an order's further terms mean for one block: implicit feedback, unobserved cells, graph, bounds. Executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys_spark.blocks.layout import Block
from recsys_spark.kernels.graph import pull_of
from recsys_spark.kernels.prior import prior_means
from recsys_spark.kernels.rows import F32, F64, NO_PULL, Csr, Extra, Reg
from recsys_spark.kernels.sweep import row_precisions

if TYPE_CHECKING:
    from recsys_spark.als.work import Order, View


def training(block: Block, feedback: float | None) -> Csr:
    """The block's ratings as they are fitted: with ``feedback`` α, preferences of confidence w (1 + α|r|)."""
    rows = block.ratings
    if feedback is None:
        return rows
    confidence = (1.0 + feedback * np.abs(rows.values)).astype(np.float32)
    weights = confidence * rows.weights if rows.weights.size else confidence
    return Csr(rows.indptr, rows.cols, preferences(rows.values), weights)


def preferences(values: F32) -> F32:
    """1 where r > 0, else 0."""
    return (values > 0).astype(np.float32)


def effective_counts(block: Block, feedback: float | None) -> F64:
    """N of λ(n) for each row, float64 (n,): Σw, or with ``feedback`` the number of r > 0, as pyspark.ml.ALS has it."""
    rows = block.ratings
    if feedback is None:
        return rows.row_weights()
    owner = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
    return np.bincount(owner[rows.values > 0], minlength=rows.n_rows).astype(np.float64)


def most_repeats(rows: Csr) -> int:
    """How often one (row, column) pair is given at most; 1 where no pair is given twice."""
    edges = np.flatnonzero(np.diff(np.r_[False, rows.repeated(), False]))
    return 1 + int((edges[1::2] - edges[::2]).max(initial=0))


def regularisation(block: Block, order: Order) -> Reg:
    """λ of each row, and λ_b."""
    return Reg(precisions(effective_counts(block, order.feedback), order), order.reg_bias)


def precisions(counts: F64, order: Order) -> F64:
    """λ of rows of so many effective counts, float64 (n,)."""
    return row_precisions(counts, order.reg, order.reg_mode, order.reg_per_rating)


def variables(block: Block, order: Order) -> np.ndarray:
    """Which rows are variables of J, bool (n,): those that have ratings, or with a graph an edge."""
    live = block.ratings.occupied()
    return live | block.graph.occupied() if order.graph_weight else live


def energies(block: Block, factors: F32, biases: F32, order: Order) -> tuple[int, int]:
    """(Σ λ_i ‖q_i - Wᵀx_i‖², λ_b Σ (c_i - wᵀx_i)²) over given rows that are variables of J, on the grid."""
    reg, live = regularisation(block, order), variables(block, order)
    means = prior_means(block.features, order.projection)
    shift = factors - means[:, :-1]
    energy = reg.factor * np.einsum("ij,ij->i", shift, shift)
    shift_bias = biases - means[:, -1]
    energy_bias = reg.bias * shift_bias * shift_bias if order.learned else np.zeros(block.n_rows)
    on_grid = [np.rint(np.where(live, e, 0.0) * order.scale).astype(np.int64) for e in (energy, energy_bias)]
    return int(on_grid[0].sum()), int(on_grid[1].sum())


def extra_of(block: Block, view: View, order: Order, reg: Reg) -> Extra:
    """The kernels' further terms."""
    pull = NO_PULL
    if order.graph_weight > 0:
        pull = pull_of(block.graph, view.own, view.own_start, reg.factor, order.graph_weight)
    return Extra(order.unseen, pull, order.nonnegative)
