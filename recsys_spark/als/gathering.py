"""Executors that bring rows together on the driver, and hand them to blocks through an exchange. Driver."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from recsys_spark.als import work
from recsys_spark.als.executor import Executor, Work
from recsys_spark.als.meter import Done
from recsys_spark.als.model import FitFacts, FittedModel, SideFacts, SideModel
from recsys_spark.als.restart import largest_of
from recsys_spark.als.work import Needs
from recsys_spark.blocks.layout import ITEMS, USERS, Block
from recsys_spark.blocks.plan import Plan
from recsys_spark.kernels.rows import F32
from recsys_spark.kernels.start import keys_of

Snapshot: TypeAlias = "list[tuple[F32, F32]]"
"""(factors, biases) of users, items."""


class Exchange(Protocol):
    """How rows reach the blocks that refer to them."""

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """Make a side's rows, factors (n, k) and biases (n,), those that `view` shows from now on."""

    def fix_biases(self, side: int, biases: F32) -> None:
        """Hold a side's biases (n,) fixed: its own blocks see them in their views."""

    def publish_own(self, side: int, own: F32) -> None:
        """Make ``own`` (n, k + 1), what features leave over of a side's rows, known to its own blocks."""

    def view(self, block: Block, needs: Needs) -> work.View:
        """The rows a block needs."""


class Gathering(Executor[FittedModel]):
    """The driver holds both sides' factors and biases."""

    def __init__(self, plan: Plan, exchange: Exchange) -> None:
        super().__init__()
        self.plan, self.exchange = plan, exchange
        self._rows: Snapshot = [(np.empty((0, 0), np.float32), np.empty(0, np.float32))] * 2
        self._counts: list[work.Counts] = []

    @abstractmethod
    def run(self, side: int, task: Work[Any], needs: Needs, each: int = 0) -> list[Done]:
        """See `Executor`."""

    def settle(self, side: int, task: Work[tuple[work.Rows, Any]], needs: Needs) -> list[Done]:
        """See `Executor`."""
        return self._taken(side, self.run(side, task, needs))

    def survey(self, feedback: float | None = None) -> list[list[work.Survey]]:
        """See `Executor`; counts stay here, for the model."""
        found = self._surveyed(partial(work.survey_block, feedback=feedback))
        counted = ([survey.counts for survey in side if survey.counts is not None] for side in found)
        self._counts = [work.Counts(*map(np.concatenate, zip(*side, strict=True))) for side in counted]
        return found

    def start(self, orders: tuple[work.Order, work.Order], seed: int) -> list[int]:
        """See `Executor`. Made here: tasks would take longer to hand rows over than to make them."""
        energies = []
        for side in (USERS, ITEMS):
            keys, counts = keys_of(self.plan.side(side).ids), self._counts[side]
            factors, energy = work.started(keys, counts.rated, counts.effective, orders[side], seed)
            self.publish(side, factors, np.zeros(len(factors), np.float32))
            energies.append(energy)
        return energies

    def id_of(self, side: int, row: int) -> Any:
        """See `Executor`."""
        return self.plan.side(side).ids[row].as_py()

    def fix_biases(self, side: int) -> None:
        """See `Executor`."""
        self.exchange.fix_biases(side, self._rows[side][1])

    def place(self, side: int, model: FittedModel, *, biases: bool, nonnegative: bool) -> tuple[float, float]:
        """See `Executor`."""
        known = model.user if side == USERS else model.item
        factors, given = known.gather(self.plan.side(side).ids)
        factors = np.maximum(factors, 0.0) if nonnegative else factors
        given = given if biases else self._rows[side][1]
        self.publish(side, factors, given)
        return largest_of(factors, given)

    def rows(self, side: int) -> tuple[F32, F32]:
        """(factors, biases) of a side as last published."""
        return self._rows[side]

    def snapshot(self) -> Snapshot:
        """See `Executor`."""
        return list(self._rows)

    def adopt(self, model: FittedModel) -> Snapshot:
        """See `Executor`."""
        return [(side.factors, side.biases) for side in (model.user, model.item)]

    def model(self, snapshot: Snapshot, sides: Sequence[SideFacts], facts: FitFacts) -> FittedModel:
        """See `Executor`."""
        user, item = (
            SideModel(
                ids=self.plan.side(side).ids,
                factors=np.ascontiguousarray(snapshot[side][0]),
                biases=snapshot[side][1],
                counts=self._counts[side].weights,
                **vars(sides[side]),
            )
            for side in (USERS, ITEMS)
        )
        return FittedModel(user=user, item=item, **vars(facts))

    def publish(self, side: int, factors: F32, biases: F32) -> None:
        """Make a side's rows, factors (n, k) and biases (n,), those that other passes see from now on."""
        self._rows[side] = factors, biases
        self.meter.moved += 2 * (factors.nbytes + biases.nbytes)
        with self.meter.during("exchange"):
            self.exchange.publish(side, factors, biases)

    def _taken(self, side: int, done: list[Done]) -> list[Done]:
        """What a pass made, once its rows are published."""
        done = sorted(done, key=lambda d: d.result[0].start)
        parts: list[work.Rows] = [d.result[0] for d in done]
        self.publish(side, np.concatenate([p.factors for p in parts]), np.concatenate([p.biases for p in parts]))
        if parts[0].own.shape[1]:
            own = np.concatenate([p.own for p in parts])
            self.meter.moved += 2 * own.nbytes
            with self.meter.during("exchange"):
                self.exchange.publish_own(side, own)
        return [d._replace(result=d.result[1]) for d in done]
