"""Random problems with any of the model's terms on, both as blocks for the engine and as matrices for the reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from problems import Problem, columns_of, feature_table, graph_table
from recsys_spark.als.inprocess import InProcess
from recsys_spark.als.settings import AlsSettings, ImplicitSettings, SideSettings, UnobservedSettings
from recsys_spark.als.train import HalfStep, _Fit
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.kernels.sweep import row_precisions
from reference import dense
from reference.dense import Side, State, Unobserved

NAMES = ("user", "item")
CELLS = {
    "none": {},
    "baseline": {"unobserved": UnobservedSettings(weight=0.3)},
    "number": {"unobserved": UnobservedSettings(weight=0.2, target=2.0)},
    "implicit": {"implicit": ImplicitSettings(prefs=True, alpha=1.5)},
}


@dataclass
class TermsCase:
    """9 users, 8 items; users 0, 1 and items 0, 1 without ratings, of which 1 and 1 have an edge."""

    settings: AlsSettings
    seed: int = 0
    weighted: bool = True
    shape: tuple[int, int] = (9, 8)
    executor: InProcess = field(init=False)
    steps: list[tuple[int, State, object]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.mask = rng.random(self.shape) < 0.45
        self.mask[[0, 1]], self.mask[:, [0, 1]], self.mask[2, 2] = False, False, True
        feedback = self.settings.feedback
        self.raw = rng.integers(-1 if feedback is not None else 1, 6, self.shape).astype(float)
        given = self.mask * (rng.uniform(0.5, 2, self.shape).astype(np.float32) if self.weighted else 1.0)
        self.x = [
            rng.normal(size=(n, d)).astype(np.float32).astype(float) for n, d in zip(self.shape, (2, 3), strict=True)
        ]
        self.graphs = [self._graph(rng, n) for n in self.shape]
        counts = [given.sum(1), given.sum(0)]
        self.ratings, self.weights, self.cells = self.raw, given, None
        if feedback is not None:
            counts = [((self.raw > 0) & self.mask).sum(a).astype(float) for a in (1, 0)]
            self.ratings, self.weights, self.cells = dense.implicit(self.raw, given, feedback)
        elif self.settings.unobserved.weight:
            target = self.settings.unobserved.target
            self.cells = Unobserved(self.settings.unobserved.weight, None if target == "baseline" else target)
        self.sides = {}
        for s, name in enumerate(NAMES):
            chosen = self.side_settings(s)
            d, k = self.x[s].shape[1], self.settings.rank
            precisions = row_precisions(counts[s], chosen.reg, chosen.reg_mode, chosen.reg_per_rating)
            self.sides[name] = Side(
                self.x[s], precisions, chosen.reg_bias,
                np.full((d, k), chosen.reg_features), np.full(d, chosen.reg_feature_bias),
                self.graphs[s] if chosen.graph else None, chosen.graph, self.settings.nonnegative,
            )  # fmt: skip
        rows, cols = np.nonzero(self.mask)
        table = {"user": rows, "item": cols, "rating": self.raw[rows, cols].astype(np.float32)}
        if self.weighted:
            table["weight"] = given[rows, cols].astype(np.float32)
        self.problem = Problem(
            pa.table(table | {"held_out": np.zeros(len(rows), bool)}),
            *(feature_table(np.arange(n), x) for n, x in zip(self.shape, self.x, strict=True)),
            (columns_of("group", 2), columns_of("genre", 3)),
            {s: graph_table(graph) for s, graph in enumerate(self.graphs) if self.side_settings(s).graph},
        )  # fmt: skip

    def side_settings(self, side: int) -> SideSettings:
        return self.settings.user if side == USERS else self.settings.item

    @property
    def learned(self) -> tuple[bool, bool]:
        resolved = self.settings.resolved()
        return resolved.user.bias == "learned", resolved.item.bias == "learned"

    def run(self, grid: tuple[int, int] = (1, 1)):
        """Fit, leaving (side, state, terms) of every half-step in ``steps``."""
        self.executor = self.problem.executor(*grid)
        self.steps = []

        def watch(event: object) -> None:
            if isinstance(event, HalfStep):
                self.steps.append((event.side, self._state(fit), event.terms))

        fit = _Fit(self.executor, self.settings, self.problem.columns, watch)
        return fit.run(None, None)

    def live(self, name: str) -> np.ndarray:
        return self.weights.any(1 if name == "user" else 0)

    def args(self, name: str, state: State) -> tuple:
        """What the reference's solvers of a side begin with."""
        other = NAMES[name == "user"]
        across = (self.ratings, self.weights) if name == "user" else (self.ratings.T, self.weights.T)
        return *across, state.factors[other], state.biases[other], state.mu, self.sides[name]

    def rest(self, side: int, state: State) -> dict:
        kept = None if self.learned[side] else state.biases[NAMES[side]]
        return {"learned": self.learned[side], "kept": kept, "unobserved": self.cells}

    def terms(self, state: State) -> dict[str, float]:
        return dense.terms(self.ratings, self.weights, self.sides, state, self.cells)

    def _state(self, fit: _Fit) -> State:
        rows = [self.executor.rows(side) for side in (USERS, ITEMS)]
        return State(
            fit.orders.mean,
            {name: rows[s][0].astype(float) for s, name in enumerate(NAMES)},
            {name: rows[s][1].astype(float) for s, name in enumerate(NAMES)},
            {name: fit.orders.projections[s].copy() for s, name in enumerate(NAMES)},
        )

    @staticmethod
    def _graph(rng: np.random.Generator, n: int) -> np.ndarray:
        s = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4), 1)
        s[0] = s[:, 0] = 0
        s[1, 3] = 0.8
        return (s + s.T).astype(np.float32).astype(float)
