"""The story of a fit: start, then iterations of items and users, each with its projection, until done. Driver.

The loop sees an `Executor` and nothing of Spark, so a fit in one process and a fit on a cluster are the same fit.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

import numpy as np

from recsys_spark.als import history
from recsys_spark.als.begin import check_initial, projection_of
from recsys_spark.als.checkpoint import Checkpoint, Checkpoints, Progress
from recsys_spark.als.executor import Executor, Model
from recsys_spark.als.history import Iteration, Phases, Terms
from recsys_spark.als.model import FitFacts, SideFacts
from recsys_spark.als.orders import Facts, Orders
from recsys_spark.als.patience import Patience
from recsys_spark.als.project import next_projection
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.work import Order
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.errors import FitError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.exact import off_grid

log = logging.getLogger(__name__)

Columns = tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]]


@dataclass(frozen=True)
class HalfStep:
    """What is known after one side was solved: for those who watch J fall."""

    iteration: int
    side: int
    terms: Terms


def train(
    executor: Executor[Model],
    settings: AlsSettings,
    columns: Columns = ((), ()),
    *,
    initial: Model | None = None,
    checkpoints: Checkpoints | None = None,
    watch: Callable[[HalfStep | Iteration], None] | None = None,
) -> Model:
    """Fit the model of the blocks that ``executor`` holds.

    Parameters
    ----------
    executor : Executor
        Blocks of both sides; left open.
    settings : AlsSettings
        What to fit.
    columns : pair of sequences of FeatureColumn
        Feature columns of users and of items.
    initial : model as the executor makes them, optional
        Begin from its rows and projections: ids that it does not know begin at zero, ids that are gone leave.
    checkpoints : Checkpoints, optional
        Where to keep the fit's state every few iterations. A fit of the same data, settings and initial model that was
        cut short goes on from there, to the same bits; the checkpoint is removed once the fit is done.
    watch : callable, optional
        Called with every `HalfStep` and every finished `Iteration`.

    Raises
    ------
    FitError
        Where a row has no solution or nothing is left to fit.
    ConfigError
        Where settings name feature groups that do not exist, or the initial model has another rank.
    DataError
        Where a checkpoint is damaged or of another release.
    """
    if initial is not None:
        check_initial(cast(Any, initial), settings.rank)
    return _Fit(executor, settings, columns, watch).run(initial, checkpoints)


_LEAST_SCALE = 2.0**10
"""Units of the largest weight on the grid that ratings and weights are summed on: fewer, and small weights vanish."""


@dataclass
class _Best:
    """The rows and projections of the best iteration so far."""

    iteration: int
    score: float
    snapshot: Any  # `Executor.snapshot`
    projections: list[np.ndarray]


class _Fit(Generic[Model]):
    """One fit's state on the driver: what the terms of J are now, the history, the best iteration."""

    def __init__(
        self,
        executor: Executor[Model],
        settings: AlsSettings,
        columns: Columns,
        watch: Callable[[HalfStep | Iteration], None] | None,
    ) -> None:
        self.executor, self.settings, self.columns = executor, settings.resolved(), columns
        self.watch, self.watched = watch or (lambda event: None), watch is not None
        self.facts = Facts.merged(*executor.survey(settings.feedback))
        if not self.facts.ratings:
            raise FitError("no training rating with a weight above 0: nothing to fit")
        if self.facts.mean_scale * self.facts.max_weight < _LEAST_SCALE:
            raise FitError(
                f"ratings up to {max(abs(self.facts.low), abs(self.facts.high)):g} are too large for the mean of "
                f"{self.facts.ratings:,} of them to be exact: is this the column of the ratings? Else divide it by a "
                "constant"
            )
        weighted, weight = executor.mean_sums(self.facts.mean_scale, self.settings.feedback)
        self.total_weight = float(off_grid(weight, self.facts.mean_scale))
        mean = 0.0 if self.settings.mean == "none" else weighted / weight
        self.orders = Orders(settings, self.facts, mean, columns)
        self.sse = math.nan
        self.reg = [0.0, 0.0]
        self.reg_bias = [0.0, 0.0]
        self.graph = [0.0, 0.0]
        self.unobserved = math.nan if self.orders.has_cells else 0.0
        self.held_out_sse = 0.0

    def run(self, initial: Model | None, checkpoints: Checkpoints | None) -> Model:
        iterations: list[Iteration] = []
        patience = Patience(self.settings.stop)
        if checkpoints and self.settings.max_iter <= checkpoints.every:
            checkpoints = None  # none would be written, and a fingerprint takes a pass over all data
        fingerprint = self._fingerprint(initial) if checkpoints else ""
        found = checkpoints.load(fingerprint) if checkpoints else None
        if found:
            best = self._resume(found, iterations, patience)
        else:
            self._start(initial)
            best = self._snapshot(0, math.inf)
        stop_reason = f"all {self.settings.max_iter} iterations done"
        for number in range(len(iterations) + 1, self.settings.max_iter + 1):
            record = self._iterate(number)
            iterations.append(record)
            self.watch(record)
            log.info(record.line(self.settings.max_iter))
            if not self.facts.held_out or record.validation_rmse < best.score:
                best = self._snapshot(number, record.validation_rmse)
            if self.facts.held_out and patience.exhausted(record):
                stop_reason = (
                    f"validation RMSE has not improved by {patience.stop.tol:g} since iteration {patience.since}"
                )
                break
            if checkpoints and number % checkpoints.every == 0 and number < self.settings.max_iter:
                checkpoints.save(fingerprint, self._checkpoint(number, best, iterations, patience))
                if self.executor.forgets and (kept := checkpoints.load(fingerprint)):
                    best = self._put_back(kept)
        model = self.executor.finished(self._model(best, iterations, stop_reason))
        if checkpoints:
            checkpoints.clear(fingerprint)
        return model

    def _iterate(self, number: int) -> Iteration:
        began = time.perf_counter()
        self.executor.meter.reset()
        for side in (ITEMS, USERS):
            ticket, before = "", self.orders.projections[side]
            if self.columns[side] and (number - 1) % self.settings.update_features_every == 0:
                ticket = f"{number}-{side}"
                self._solve_projection(side, ticket)
            order = self.orders.order(side, ticket)
            length = self.settings.length(number)
            if side == ITEMS and length > 1:
                known = self.sse + self.reg[side] + self.reg_bias[side] + abs(self.unobserved)
                order = self.orders.beyond(order, before, length, known, scored=self.watched)
            self._half_sweep(order)
            self.watch(HalfStep(number, side, self._terms()))
        return self._record(number, time.perf_counter() - began)

    def _start(self, initial: Any) -> None:
        starts = self.orders.start_order(USERS), self.orders.start_order(ITEMS)
        energies = self.executor.start(starts, self.settings.seed)
        self.reg = [float(off_grid(e, o.scale)) for e, o in zip(energies, starts, strict=True)]
        self._static_biases()
        if initial is not None:
            self._start_from(initial)
        self._show()

    def _static_biases(self) -> None:
        for side in (ITEMS, USERS):
            if self.orders.side(side).bias == "static":
                sums, *_ = self.executor.half_sweep(self.orders.bias_order(side))
                self.orders.max_bias[side] = sums.max_bias
        for side in (ITEMS, USERS):
            if self.orders.side(side).bias == "static":
                self.executor.fix_biases(side)

    def _show(self, gram_bounds: tuple[float, float] = (0.0, 0.0)) -> None:
        """Let blocks know of the rows as they are what their next pass needs; with a resumed fit's bounds, as then."""
        for side in (USERS, ITEMS):
            order = self.orders.show_order(side, gram_bounds[side])
            if order.gram_grid is not None or order.shows_own:
                self.orders.see(order, self.executor.show(order))
                self._sum_edges(side)

    def _sum_edges(self, side: int) -> None:
        weight = self.orders.side(side).graph
        if weight:
            scale = self.orders.edge_scale(side)
            self.graph[side] = weight * float(off_grid(self.executor.edge_energy(side, scale), scale))

    def _start_from(self, initial: Any) -> None:
        for side in (USERS, ITEMS):
            largest, self.orders.max_bias[side] = self.executor.place(
                side,
                initial,
                biases=self.orders.side(side).bias == "learned",
                nonnegative=self.settings.nonnegative,
            )
            known = initial.user if side == USERS else initial.item
            self.orders.projections[side] = projection_of(known, self.columns[side])
            order = self.orders.energy_order(side, largest)
            reg, reg_bias = self.executor.energy(order)
            self.reg[side], self.reg_bias[side] = (float(off_grid(e, order.scale)) for e in (reg, reg_bias))

    def _resume(self, found: Checkpoint, iterations: list[Iteration], patience: Patience) -> _Best:
        """Put everything back as it was after the checkpoint's iteration."""
        progress = found.progress
        self.executor.start((self.orders.start_order(USERS), self.orders.start_order(ITEMS)), self.settings.seed)
        self._static_biases()
        self.orders.max_bias = list(progress.max_bias)
        self.orders.projections = _projections(found.model)
        self.sse, self.held_out_sse = progress.sse, progress.held_out_sse
        self.reg, self.reg_bias = list(progress.reg), list(progress.reg_bias)
        self.unobserved = progress.unobserved
        patience.since, patience.score = progress.patience_since, _finite(progress.patience_score)
        iterations += history.iterations(found.model.history)
        return self._put_back(found)

    def _put_back(self, found: Checkpoint) -> _Best:
        """The rows of a checkpoint in place of those that are there; everything else is as it was then."""
        for side in (USERS, ITEMS):
            self.executor.place(side, found.model, biases=True, nonnegative=False)
        self._show(found.progress.gram_bounds)
        snapshot, score = self.executor.adopt(found.best), _finite(found.progress.best_score)
        return _Best(found.best.best_iteration, score, snapshot, _projections(found.best))

    def _checkpoint(self, number: int, best: _Best, iterations: list[Iteration], patience: Patience) -> Checkpoint:
        progress = Progress(
            number,
            self.sse,
            self.held_out_sse,
            (self.reg[USERS], self.reg[ITEMS]),
            (self.reg_bias[USERS], self.reg_bias[ITEMS]),
            (self.orders.max_bias[USERS], self.orders.max_bias[ITEMS]),
            best.score if math.isfinite(best.score) else None,
            patience.since,
            patience.score if math.isfinite(patience.score) else None,
            self.unobserved,
            self.orders.gram_bounds(),
        )
        reason = "a checkpoint: the fit goes on"
        current = self._model(self._snapshot(number, 0.0), iterations, reason)
        return Checkpoint(progress, current, self._model(best, iterations, reason))

    def _fingerprint(self, initial: Any) -> str:
        """Of data, settings but for ``max_iter``, and initial model; the same for every grid."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr(self.settings.model_dump(mode="json", exclude={"max_iter"})).encode())
        digest.update(repr([[(c.group, c.name) for c in columns] for columns in self.columns]).encode())
        digest.update(repr(self.executor.fingerprint()).encode())
        if initial is not None:
            digest.update(initial.fingerprint())
        return digest.hexdigest()

    def _solve_projection(self, side: int, ticket: str) -> None:
        order = self.orders.order(side, ticket)
        self.orders.projections[side] = next_projection(self.executor, self.orders, order)

    def _half_sweep(self, order: Order) -> None:
        side = order.side
        sums, held_out, shown = self.executor.half_sweep(order)
        if order.step:
            self.orders.projections[side] = order.step.projection
        self.orders.max_bias[side] = sums.max_bias
        self.orders.see(order, shown)
        self._sum_edges(side)
        self.unobserved = float(off_grid(sums.unobserved, order.scale))
        self.sse, self.reg[side], self.reg_bias[side] = (float(off_grid(s, order.scale)) for s in sums[:3])
        self.held_out_sse = float(off_grid(held_out, order.held_out_scale))

    def _terms(self) -> Terms:
        return Terms(
            sse=self.sse,
            reg_user=self.reg[USERS],
            reg_item=self.reg[ITEMS],
            reg_user_bias=self.reg_bias[USERS],
            reg_item_bias=self.reg_bias[ITEMS],
            reg_projection=self.orders.penalty_energy(),
            unobserved=self.unobserved,
            graph_user=self.graph[USERS],
            graph_item=self.graph[ITEMS],
        )

    def _record(self, number: int, seconds: float) -> Iteration:
        held = self.facts.held_out
        validation = math.sqrt(self.held_out_sse / held) if held else math.nan
        meter = self.executor.meter
        phases = Phases(meter.compute, meter.exchange, meter.driver, seconds, meter.moved)
        train_rmse = math.sqrt(self.sse / self.total_weight)
        return Iteration(number, seconds, train_rmse, validation, self._terms(), phases)

    def _snapshot(self, iteration: int, score: float) -> _Best:
        return _Best(iteration, score, self.executor.snapshot(), list(self.orders.projections))

    def _model(self, best: _Best, iterations: list[Iteration], stop_reason: str) -> Model:
        sides = [
            SideFacts(tuple(columns), np.ascontiguousarray(w[:, :-1]), np.ascontiguousarray(w[:, -1]))
            for columns, w in zip(self.columns, best.projections, strict=True)
        ]
        facts = FitFacts(
            mu=self.orders.mean,
            clip=self.orders.clip,
            settings=self.settings,
            history=history.table(iterations),
            best_iteration=best.iteration,
            stop_reason=stop_reason,
        )
        return self.executor.model(best.snapshot, sides, facts)


def _projections(model: Any) -> list[np.ndarray]:
    return [np.column_stack([side.projection, side.projection_bias]) for side in (model.user, model.item)]


def _finite(score: float | None) -> float:
    return math.inf if score is None else score
