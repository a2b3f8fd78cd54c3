"""The face that the training loop sees: passes over one side's blocks. Driver.

Implementations: `inprocess` (one process), `stages` (Spark, rows broadcast), `routed` (Spark, rows shuffled). All run
the same functions of `als.work` on the same blocks, so they give the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from recsys_spark.als import project_work, restart, work
from recsys_spark.als.meter import Done, Meter
from recsys_spark.als.model import FitFacts, SideFacts
from recsys_spark.als.work import Needs
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, Block
from recsys_spark.errors import FitError
from recsys_spark.kernels.projection import ProjectionSums, Scales
from recsys_spark.kernels.rows import F64
from recsys_spark.kernels.sweep import SweepSums

Result = TypeVar("Result")
Work = Callable[[Block, work.View], Result]
Model = TypeVar("Model")
"""What a fit makes."""


class Executor(ABC, Generic[Model]):
    """Passes over blocks."""

    forgets = False
    """Whether rows are read back from each checkpoint, so that all that led there can be forgotten."""

    def __init__(self) -> None:
        self.meter = Meter()

    @property
    @abstractmethod
    def at_a_time(self) -> int:
        """Tasks that run at a time."""

    @abstractmethod
    def run(self, side: int, task: Work[Any], needs: Needs, each: int = 0) -> list[Done]:
        """``task(block, view)`` for every block of a side, in any order.

        ``each`` is about how many bytes a result has, if it is `project_work.Projected`: where all of them are too many
        for the driver, executors add them up (`als.adding`), and most results are None.
        """

    def run_both(self, task: Work[Any]) -> list[list[Done]]:
        """As `run`, for every block of users, and of items: a task that needs no rows."""
        return [self.run(side, task, Needs.NOTHING) for side in (USERS, ITEMS)]

    @abstractmethod
    def settle(self, side: int, task: Work[tuple[work.Rows, Any]], needs: Needs) -> list[Done]:
        """As `run`, for a task that returns rows and a result: rows are those that views show from now on."""

    @abstractmethod
    def id_of(self, side: int, row: int) -> Any:
        """The id of a row."""

    @abstractmethod
    def fix_biases(self, side: int) -> None:
        """Hold a side's biases as they are: its own blocks see them in their views."""

    @abstractmethod
    def place(self, side: int, model: Model, *, biases: bool, nonnegative: bool) -> tuple[float, float]:
        """Make a model's rows those of the side, zero for ids that it does not know; returns the largest |q_ia|, |c_i|.

        Without ``biases``, those of the side stay as they are; ``nonnegative`` factors are raised to 0.
        """

    @abstractmethod
    def snapshot(self) -> Any:
        """Both sides' rows as they are, for `model`."""

    @abstractmethod
    def adopt(self, model: Model) -> Any:
        """A model's rows as if they were a snapshot."""

    @abstractmethod
    def model(self, snapshot: Any, sides: Sequence[SideFacts], facts: FitFacts) -> Model:
        """The model of a snapshot's rows."""

    def finished(self, model: Model) -> Model:
        """The fit's result, independent of the executor."""
        return model

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind: no file, broadcast or persisted RDD."""

    def map(self, side: int, task: Work[Result], needs: Needs, each: int = 0) -> list[Result]:
        """The results of `run`, metered."""
        return self._metered(self.run(side, task, needs, each))

    def settled(self, side: int, task: Work[tuple[work.Rows, Result]], needs: Needs) -> list[Result]:
        """The results of `settle`, metered."""
        return self._metered(self.settle(side, task, needs))

    def survey(self, feedback: float | None = None) -> list[list[work.Survey]]:
        """Facts of users' blocks and of items', by start; with ``feedback`` α, of preferences and confidences."""
        return self._surveyed(partial(work.survey_block, feedback=feedback, counted=False))

    def _surveyed(self, task: Work[work.Survey]) -> list[list[work.Survey]]:
        return [sorted(self._metered(done), key=lambda survey: survey.start) for done in self.run_both(task)]

    def mean_sums(self, scale: float, feedback: float | None = None) -> tuple[int, int]:
        """(Σ w r, Σ w) on the grid."""
        task = partial(work.sum_block, scale=scale, feedback=feedback)
        parts: Sequence[work.RowSums] = self.map(USERS, task, Needs.NOTHING)
        return sum(p.weighted for p in parts), sum(p.weight for p in parts)

    def start(self, orders: tuple[work.Order, work.Order], seed: int) -> list[int]:
        """Initial factors of both sides, biases zero; returns each side's energy on its order's grid."""
        task = partial(work.start_block, orders=orders, seed=seed)
        return [sum(self.settled(side, task, Needs.NOTHING)) for side in (USERS, ITEMS)]

    def energy(self, order: work.Order) -> tuple[int, int]:
        """(Σ λ_i ‖q_i - Wᵀx_i‖², λ_b Σ (c_i - wᵀx_i)²) of a side's rows as they are, on the order's grid."""
        parts = self.map(order.side, partial(restart.energy_block, order=order), Needs.MINE)
        return sum(reg for reg, _ in parts), sum(bias for _, bias in parts)

    def fingerprint(self) -> list[int]:
        """A hash of each side's data, the same for every grid."""
        return [sum(self._metered(done)) % 2**64 for done in self.run_both(restart.hash_block)]

    def show(self, order: work.Order) -> work.Shown:
        """Make known, and return, what a half-sweep that led to a side's rows as they are would have left."""
        return _together(self.settled(order.side, partial(work.show_block, order=order), Needs.MINE))

    def edge_energy(self, side: int, scale: float) -> int:
        """The energy of a side's graph without α, on the grid."""
        return sum(self.map(side, partial(work.edge_block, scale=scale), Needs.OWN))

    def half_sweep(self, order: work.Order) -> tuple[SweepSums, int, work.Shown]:
        """Solve one side and publish it; returns its sums, the validation error's, and what there is to know of it.

        Sums are on the order's grids.

        Raises FitError naming the side and id of a row that has no solution.
        """
        task = partial(work.sweep_block, order=order)
        parts = sorted(self.settled(order.side, task, order.needs), key=lambda p: p.start)
        for p in parts:
            self._check(order.side, p.start, p.sums.failed)
        sums = SweepSums(
            sse=sum(p.sums.sse for p in parts),
            reg_factor=sum(p.sums.reg_factor for p in parts),
            reg_bias=sum(p.sums.reg_bias for p in parts),
            max_bias=max(p.sums.max_bias for p in parts),
            failed=-1,
            unobserved=sum(p.sums.unobserved for p in parts),
        )
        return sums, sum(p.held_out_sse for p in parts), _together([p.shown for p in parts])

    def projection_sums(self, order: work.Order, scales: Scales) -> ProjectionSums:
        """Both sums of the projection's normal equations over all blocks of a side. Errors as `half_sweep`."""
        d, size = len(order.projection), order.rank + order.learned
        task = partial(project_work.project_block, order=order, scales=scales)
        return self._added(order, task, 2 * d * (d + 1) * size * (size + 1))

    def projection_gradient(self, order: work.Order, scales: Scales) -> ProjectionSums:
        """The right-hand side of those equations, and about the diagonal of the left."""
        return self._added(order, partial(project_work.gradient_block, order=order, scales=scales))

    def projection_product(self, order: work.Order, scales: Scales, direction: F64) -> ProjectionSums:
        """Their left-hand side without the ridge times a direction (d, k + 1), negative, as the right-hand side."""
        return self._added(order, partial(project_work.product_block, order=order, scales=scales, direction=direction))

    def held_sums(self, order: work.Order, scales: Scales, whole: bool) -> ProjectionSums:
        """Those of rows that are held fixed (`kernels.held`): both sides, or not ``whole``, as the gradient."""
        d = len(order.projection)
        task = partial(project_work.held_block, order=order, scales=scales, whole=whole)
        return self._added(order, task, 8 * d * (d + 1) if whole else 0)

    def held_product(self, order: work.Order, scales: Scales, direction: F64) -> ProjectionSums:
        """As `projection_product`, of rows that are held fixed."""
        task = partial(project_work.held_product_block, order=order, scales=scales, direction=direction)
        return self._added(order, task)

    def _added(self, order: work.Order, task: Work[project_work.Projected], each: int = 0) -> ProjectionSums:
        parts = [p for p in self.map(order.side, task, order.needs, each) if p is not None]
        for p in parts:
            self._check(order.side, p.start, p.sums.failed)
        self.meter.moved += sum(p.sums.normal.nbytes + p.sums.right.nbytes for p in parts)
        return ProjectionSums(sum(p.sums.normal for p in parts), sum(p.sums.right for p in parts), -1)  # type: ignore[arg-type]

    def _metered(self, done: list[Done]) -> list[Any]:
        self.meter.passed(done, self.at_a_time)
        return [d.result for d in done]

    def _check(self, side: int, start: int, failed: int) -> None:
        if failed >= 0:
            name, row = SIDE_NAMES[side], self.id_of(side, start + failed)
            raise FitError(
                f"{name} {row!r} has no unique solution: its ratings leave a singular or non-finite system; "
                f"raise the {name}'s reg (λ of the factors) or reg_bias above 0 (reg_mode weighted multiplies λ by the "
                "number of ratings, of implicit ones by those above 0: constant does not), or drop ratings that are "
                "not finite"
            )


def _together(parts: Sequence[work.Shown]) -> work.Shown:
    return work.Shown(
        gram=sum(p.gram for p in parts),  # type: ignore[arg-type]
        largest=max(p.largest for p in parts),
        largest_own=max(p.largest_own for p in parts),
    )
