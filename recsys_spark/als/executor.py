"""The face that the training loop sees: passes over one side's blocks. Two implementations: Spark stages, in-process.

Both run the same functions of `als.work` on the same blocks, so they give the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from recsys_spark.als import project_work, restart, work
from recsys_spark.als.meter import Done, Meter
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block
from recsys_spark.blocks.plan import Plan
from recsys_spark.errors import FitError
from recsys_spark.kernels.projection import ProjectionSums, Scales
from recsys_spark.kernels.rows import F32, F64
from recsys_spark.kernels.sweep import SweepSums

Result = TypeVar("Result")
Work = Callable[[Block, work.View], Result]


class Exchange(Protocol):
    """How solved rows reach the blocks that refer to them."""

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """Make a side's rows, factors (n, k) and biases (n,), those that `view` shows from now on."""

    def fix_biases(self, side: int, biases: F32) -> None:
        """Hold a side's biases (n,) fixed: its own blocks see them in their views."""

    def publish_own(self, side: int, own: F32) -> None:
        """Make ``own`` (n, k + 1), what features leave over of a side's rows, known to its own blocks."""

    def view(self, block: Block) -> work.View:
        """The rows a block needs."""


class Executor(ABC):
    """Passes over the blocks of a plan. Driver."""

    def __init__(self, plan: Plan, exchange: Exchange) -> None:
        self.plan = plan
        self.exchange = exchange
        self.meter = Meter()
        self._factors: list[F32] = [np.empty((0, 0), np.float32)] * 2
        self._biases: list[F32] = [np.empty(0, np.float32)] * 2

    @property
    @abstractmethod
    def at_a_time(self) -> int:
        """Tasks that run at a time."""

    @abstractmethod
    def run(self, side: int, task: Work[Any], *, views: bool) -> list[Done]:
        """``task(block, view)`` for every block of a side, in any order; no view where ``views`` is False."""

    def map(self, side: int, task: Work[Result], *, views: bool = True) -> list[Result]:
        """The results of `run`, metered."""
        done = self.run(side, task, views=views)
        self.meter.passed(done, self.at_a_time)
        return [d.result for d in done]

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind: no file, broadcast or persisted RDD."""

    def survey(self, side: int, feedback: float | None = None) -> list[work.Survey]:
        """Facts of a side's blocks, by start; with ``feedback`` α, of preferences and confidences."""
        return sorted(
            self.map(side, partial(work.survey_block, feedback=feedback), views=False), key=lambda s: s.start
        )  # fmt: skip

    def mean_sums(self, scale: float, feedback: float | None = None) -> tuple[int, int]:
        """(Σ w r, Σ w) on the grid."""
        task = partial(work.sum_block, scale=scale, feedback=feedback)
        parts: Sequence[work.RowSums] = self.map(USERS, task, views=False)
        return sum(p.weighted for p in parts), sum(p.weight for p in parts)

    def start(self, orders: Sequence[work.Order], seed: int) -> list[int]:
        """Initial factors of both sides, biases zero; returns each side's energy on its order's grid."""
        energies = []
        for side in (USERS, ITEMS):
            task = partial(work.start_block, order=orders[side], seed=seed)
            parts = sorted(self.map(side, task, views=False), key=lambda p: p.start)
            factors = np.concatenate([p.factors for p in parts])
            self.publish(side, factors, np.zeros(len(factors), np.float32))
            energies.append(sum(p.energy for p in parts))
        return energies

    def energy(self, order: work.Order) -> tuple[int, int]:
        """(Σ λ_i ‖q_i - Wᵀx_i‖², λ_b Σ (c_i - wᵀx_i)²) of a side's rows as they are, on the order's grid."""
        factors, biases = self._factors[order.side], self._biases[order.side]
        task = partial(restart.energy_block, order=order, factors=factors, biases=biases)
        parts = self.map(order.side, task, views=False)
        return sum(reg for reg, _ in parts), sum(bias for _, bias in parts)

    def fingerprint(self) -> list[int]:
        """A hash of each side's data, the same for every grid."""
        return [sum(self.map(side, restart.hash_block, views=False)) % 2**64 for side in (USERS, ITEMS)]

    def show(self, order: work.Order) -> work.Shown:
        """Publish, and return, what a half-sweep that led to a side's rows as they are would have left for others."""
        factors, biases = self._factors[order.side], self._biases[order.side]
        task = partial(work.show_block, order=order, factors=factors, biases=biases)
        return self._show(order, self.map(order.side, task, views=False))

    def edge_energy(self, side: int, scale: float) -> int:
        """The energy of a side's graph without α, on the grid."""
        return sum(self.map(side, partial(work.edge_block, scale=scale)))

    def half_sweep(self, order: work.Order) -> tuple[SweepSums, int, work.Shown]:
        """Solve one side and publish it; returns its sums, the validation error's, and what there is to know of it.

        Sums are on the order's grids.

        Raises FitError naming the side and id of a row that has no solution.
        """
        parts = sorted(self.map(order.side, partial(work.sweep_block, order=order)), key=lambda p: p.start)
        for p in parts:
            self._check(order.side, p.start, p.sums.failed)
        biases = np.concatenate([p.biases for p in parts])
        if order.rank == self._factors[order.side].shape[1]:
            self.publish(order.side, np.concatenate([p.factors for p in parts]), biases)
        else:  # a pass over biases alone leaves the factors as they are
            self.publish(order.side, self._factors[order.side], biases)
        sums = SweepSums(
            sse=sum(p.sums.sse for p in parts),
            reg_factor=sum(p.sums.reg_factor for p in parts),
            reg_bias=sum(p.sums.reg_bias for p in parts),
            max_bias=max(p.sums.max_bias for p in parts),
            failed=-1,
            unobserved=sum(p.sums.unobserved for p in parts),
        )
        return sums, sum(p.held_out_sse for p in parts), self._show(order, [p.shown for p in parts])

    def projection_sums(self, order: work.Order, scales: Scales) -> ProjectionSums:
        """Both sums of the projection's normal equations over all blocks of a side. Errors as `half_sweep`."""
        return self._added(order.side, partial(project_work.project_block, order=order, scales=scales))

    def projection_gradient(self, order: work.Order, scales: Scales) -> ProjectionSums:
        """The right-hand side of those equations, and about the diagonal of the left."""
        return self._added(order.side, partial(project_work.gradient_block, order=order, scales=scales))

    def projection_product(self, order: work.Order, scales: Scales, direction: F64) -> ProjectionSums:
        """Their left-hand side without the ridge times a direction (d, k + 1), negative, as the right-hand side."""
        return self._added(
            order.side, partial(project_work.product_block, order=order, scales=scales, direction=direction)
        )

    def held_sums(self, order: work.Order, scales: Scales, whole: bool) -> ProjectionSums:
        """Those of rows that are held fixed (`kernels.held`): both sides, or not ``whole``, as the gradient."""
        return self._added(order.side, partial(project_work.held_block, order=order, scales=scales, whole=whole))

    def held_product(self, order: work.Order, scales: Scales, direction: F64) -> ProjectionSums:
        """As `projection_product`, of rows that are held fixed."""
        task = partial(project_work.held_product_block, order=order, scales=scales, direction=direction)
        return self._added(order.side, task)

    def _added(self, side: int, task: Work[project_work.Projected]) -> ProjectionSums:
        parts = self.map(side, task)
        for p in parts:
            self._check(side, p.start, p.sums.failed)
        self.meter.moved += sum(p.sums.normal.nbytes + p.sums.right.nbytes for p in parts)
        return ProjectionSums(sum(p.sums.normal for p in parts), sum(p.sums.right for p in parts), -1)  # type: ignore[arg-type]

    def rows(self, side: int) -> tuple[F32, F32]:
        """(factors, biases) of a side as last published."""
        return self._factors[side], self._biases[side]

    def _show(self, order: work.Order, parts: Sequence[work.Shown]) -> work.Shown:
        if order.shows_own:
            own = np.concatenate([p.own for p in sorted(parts, key=lambda p: p.start)])
            self.meter.moved += 2 * own.nbytes
            with self.meter.during("exchange"):
                self.exchange.publish_own(order.side, own)
        return work.Shown(
            start=0,
            gram=sum(p.gram for p in parts),  # type: ignore[arg-type]
            own=work.NO_OWN,
            largest=max(p.largest for p in parts),
            largest_own=max(p.largest_own for p in parts),
        )

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """Make a side's rows, factors (n, k) and biases (n,), those that other passes see from now on."""
        self._factors[side], self._biases[side] = factors, biases
        self.meter.moved += 2 * (factors.nbytes + biases.nbytes)
        with self.meter.during("exchange"):
            self.exchange.publish(side, factors, biases)

    def _check(self, side: int, start: int, failed: int) -> None:
        if failed >= 0:
            name, row = SIDE_NAMES[side], self.plan.side(side).ids[start + failed].as_py()
            raise FitError(
                f"{name} {row!r} has no unique solution: its ratings leave a singular or non-finite system; "
                f"raise the {name}'s reg (λ of the factors) or reg_bias above 0, or drop ratings that are not finite"
            )
