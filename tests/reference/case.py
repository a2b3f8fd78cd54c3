"""A random problem with every term on, and the steps that an engine takes on it, in the dense reference."""

from __future__ import annotations

import numpy as np

from reference import dense
from reference.dense import Side, State, Unobserved

NAMES = ("user", "item")
CELLS = [None, Unobserved(0.3), Unobserved(0.2, 2.0), "implicit"]
IDS = ["none", "baseline", "number", "implicit"]


class Case:
    """A random problem with every term on: some rows without ratings, of those some with an edge."""

    def __init__(self, seed: int, cells=None, alpha: float = 0.7, nonnegative: bool = False, mode: str = "constant"):
        rng = np.random.default_rng(seed)
        self.shape, self.k = (9, 8), 3
        mask = rng.random(self.shape) < 0.45
        mask[[0, 1]], mask[:, [0, 1]], mask[2, 2] = False, False, True
        self.ratings = rng.integers(-1 if cells == "implicit" else 1, 6, self.shape).astype(float)
        self.weights, self.cells, self.mu, self.learned = mask * rng.uniform(0.5, 2, self.shape), cells, 3.1, True
        counts = [self.weights.sum(1), self.weights.sum(0)]
        if cells == "implicit":
            counts = [((self.ratings > 0) & mask).sum(a) for a in (1, 0)]
            self.ratings, self.weights, self.cells = dense.implicit(self.ratings, mask, 1.5)
            self.mu, self.learned = 0.0, False
        self.sides, factors = {}, {}
        for name, n, d, count in zip(NAMES, self.shape, (2, 3), counts, strict=True):
            lam = {"constant": np.full(n, 1.3), "weighted": 0.2 * count, "inverse_sqrt": 2 / np.sqrt(count + 1)}[mode]
            graph = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4), 1)
            graph[0] = graph[:, 0] = 0  # row 0 has neither ratings nor edges, row 1 has an edge
            graph[1, 3] = 0.8
            self.sides[name] = Side(
                rng.normal(size=(n, d)), lam.astype(float), 0.9, rng.uniform(0.3, 2, (d, self.k)),
                rng.uniform(0.3, 2, d), graph + graph.T if alpha else None, alpha, nonnegative,
            )  # fmt: skip
            factors[name] = np.abs(rng.normal(size=(n, self.k)))
        biases = {name: rng.normal(size=n) * self.learned for name, n in zip(NAMES, self.shape, strict=True)}
        projection = {n: np.zeros((self.sides[n].features.shape[1], self.k + 1)) for n in NAMES}
        self.state = State(self.mu, factors, biases, projection)

    def objective(self, state: State | None = None) -> float:
        return dense.objective(self.ratings, self.weights, self.sides, state or self.state, self.cells)

    def args(self, name: str, state: State | None = None) -> tuple:
        """What both solvers of a side begin with."""
        s, other = state or self.state, NAMES[name == "user"]
        across = (self.ratings, self.weights) if name == "user" else (self.ratings.T, self.weights.T)
        return *across, s.factors[other], s.biases[other], self.mu, self.sides[name]

    def live(self, name: str) -> np.ndarray:
        return self.weights.any(1 if name == "user" else 0)

    def kept(self, name: str) -> np.ndarray | None:
        return None if self.learned else self.state.biases[name]

    def rest(self, name: str) -> dict:
        return {"learned": self.learned, "kept": self.kept(name), "unobserved": self.cells}

    def with_side(self, name: str, factors=None, biases=None, projection=None) -> State:
        s = self.state
        return State(
            s.mu,
            s.factors if factors is None else s.factors | {name: factors},
            s.biases if biases is None else s.biases | {name: biases},
            s.projection if projection is None else s.projection | {name: projection},
        )

    def pull(self, name: str) -> dense.Pull:
        return dense.pull(self.sides[name], self.state.factors[name], self.state.projection[name])

    def half_step(self, name: str) -> None:
        """What the engine does to a side: projection with the rows profiled out, then the rows, under one pull."""
        pulled = self.pull(name)
        *_, projection = dense.solve_jointly(*self.args(name), **self.rest(name), pulled=pulled)
        rows = dense.solve_rows(*self.args(name), projection, **self.rest(name), pulled=pulled)
        self.state = self.with_side(name, *rows, projection)

    def half_step_in_turn(self, name: str, exact: bool = False) -> None:
        """The same where rows are constrained: projection with the rows held fixed, then the rows.

        Both on the bound of one pull; if ``exact``, the projection on J itself and the rows under a new pull.
        """
        s, side = self.state, self.sides[name]
        pulled = None if exact else self.pull(name)
        projection = dense.solve_projection(
            side, s.factors[name], s.biases[name], self.live(name), self.learned, pulled
        )
        self.state = self.with_side(name, projection=projection)
        rows = dense.solve_rows(*self.args(name), projection, **self.rest(name), pulled=pulled or self.pull(name))
        self.state = self.with_side(name, *rows)
