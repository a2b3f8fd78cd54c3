"""From settings and the data's facts to the orders of each pass: bounds, grids, precisions. Driver.

Every bound is made of maxima and counts, which have no rounding order, so the grids, and with them the exact sums, are
the same for every partitioning of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys_spark.als.model import NO_CLIP
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.work import Order, Shown, Step, Survey
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS, other
from recsys_spark.errors import ConfigError, FitError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.exact import scale_for
from recsys_spark.kernels.projection import Scales
from recsys_spark.kernels.rows import ALL_SEEN, F64, Unseen
from recsys_spark.kernels.start import MOST_ENERGY
from recsys_spark.kernels.unseen import GramGrid, gram_of

_GROWTH = 2.0**20  # of the largest factor in a half-sweep, that the grid of a Gram leaves room for


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of the data before the first pass."""

    rows: tuple[int, int]  # of users, items
    ratings: int
    held_out: int
    low: float
    high: float
    max_weight: float
    max_row_weight: tuple[float, float]
    most_repeats: int
    max_degree: tuple[float, float]
    max_feature: tuple[float, float]
    max_feature_row: tuple[float, float]

    @classmethod
    def merged(cls, users: Sequence[Survey], items: Sequence[Survey]) -> Facts:
        """Facts of all blocks of both sides, each by start."""
        both = (users, items)

        def largest(name: str) -> tuple[float, float]:
            return tuple(max(getattr(s, name) for s in side) for side in both)

        return cls(
            (sum(s.rows for s in users), sum(s.rows for s in items)),
            sum(s.ratings for s in users),
            sum(s.held_out for s in users),
            min(s.low for s in users),
            max(s.high for s in users),
            max(largest("max_weight")),
            largest("max_row_weight"),
            max(s.most_repeats for s in users),
            largest("max_degree"),
            largest("max_feature"),
            largest("max_feature_row"),
        )

    @property
    def total_weight_bound(self) -> float:
        """At least Σw."""
        return self.ratings * self.max_weight

    @property
    def mean_scale(self) -> float:
        """Grid of Σ w r and Σ w."""
        return scale_for(2 * self.total_weight_bound * max(abs(self.low), abs(self.high), 1.0))


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a side's rows, beside their biases; at first, of their initial factors."""

    largest: float = math.sqrt(MOST_ENERGY)  # max |q_ia|
    largest_own: float = math.sqrt(MOST_ENERGY)  # the same of what features leave over
    gram: F64 | None = None
    gram_grid: GramGrid | None = None


class Orders:
    """Makes the order of each pass. Holds no factor, only what bounds and regularises them."""

    def __init__(
        self,
        settings: AlsSettings,
        facts: Facts,
        mean: float,
        columns: tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]],
    ) -> None:
        self.settings, self.facts, self.mean = settings.resolved(), facts, mean
        self.scored_clip = settings.clip or (facts.low, facts.high)
        self.clip = self.scored_clip if settings.feedback is None or settings.clip else (-NO_CLIP, NO_CLIP)
        self.shown = [Known(), Known()]
        for side in (USERS, ITEMS):
            if self.side(side).graph and not facts.max_degree[side]:
                name = SIDE_NAMES[side]
                raise ConfigError(
                    f"{name}.graph is {self.side(side).graph:g}, but the blocks have no edge between {name}s: give a "
                    f"graph (blocks.{name}_graph, or set{name.title()}Graph), or leave it 0"
                )
        self.max_bias = [0.0, 0.0]
        self._penalties = tuple(_penalty(self.side(s), columns[s], settings.rank) for s in (USERS, ITEMS))
        self.projections = [np.zeros((len(columns[s]), settings.rank + 1)) for s in (USERS, ITEMS)]

    def side(self, side: int) -> SideSettings:
        """The settings of USERS or ITEMS."""
        return self.settings.user if side == USERS else self.settings.item

    def order(self, side: int, ticket: str = "") -> Order:
        """The next pass over a side, at the current projections and the other side's largest bias."""
        s = self.side(side)
        low, high = self.scored_clip
        clip_width = max(high, self.facts.high) - min(low, self.facts.low)
        return Order(
            side=side,
            rank=self.settings.rank,
            mean=self.mean,
            reg=s.reg,
            reg_mode=s.reg_mode,
            reg_per_rating=s.reg_per_rating,
            reg_bias=s.reg_bias,
            learned=s.bias == "learned",
            projection=self.projections[side],
            scale=scale_for(self._sums_bound(side)),
            clip=self.scored_clip,
            held_out_scale=scale_for(2 * self.facts.held_out * clip_width**2),
            ticket=ticket,
            feedback=self.settings.feedback,
            unseen=self._unseen(side),
            gram_grid=self._gram_grid(side),
            graph_weight=s.graph,
            nonnegative=self.settings.nonnegative,
        )

    def beyond(self, order: Order, before: F64, length: float, known: float, *, scored: bool) -> Order:
        """The order, rows taken beyond their solution.

        Parameters
        ----------
        before : float64 ndarray of shape (d, k + 1)
            The projection that the rows as they are go with.
        length : float
            ω, 1 to 2.
        known : float
            At least each of the side's terms of J as it is now, and the errors.
        scored : bool
            Whether the errors there are asked for.
        """
        # A residual at ω is (1 - ω) times the one now and ω times the solution's: at most 2ω - 1 times the larger.
        # Cells without a rating are a difference of two sums, of which the errors bound one.
        bound = (2 * length - 1) ** 2 * (self._sums_bound(order.side) + (2 + 4 * self.facts.most_repeats) * known)
        # Rows that are solved with the projection as it is are at their least value with that one.
        end = order.projection if order.nonnegative else before + length * (order.projection - before)
        return replace(order, step=Step(length, end, scored), scale=scale_for(bound))

    def see(self, order: Order, shown: Shown) -> None:
        """Take in what the rows of a side turned out to be.

        Raises FitError where they are too large for the grid of their Gram.
        """
        gram, grid = None, order.gram_grid
        if grid is not None:
            if not max(shown.largest, self.max_bias[order.side]) <= grid.largest:
                raise FitError(
                    f"{SIDE_NAMES[order.side]} factors grew to {shown.largest:g}, more than a millionfold in one "
                    "half-sweep: raise reg"
                )
            gram = gram_of(shown.gram, grid, order.rank)
        self.shown[order.side] = Known(shown.largest, shown.largest_own, gram, grid)

    def start_order(self, side: int) -> Order:
        """The order of the initial factors, whose grid holds their energy."""
        order = self.order(side)
        return replace(order, scale=scale_for(2 * self._precision_bound(side) * MOST_ENERGY))

    def energy_order(self, side: int, largest: float) -> Order:
        """The order of a pass that adds up the energy of given rows, whose entries are at most ``largest``."""
        order = self.order(side)
        prior = np.abs(self.projections[side]).max(axis=0, initial=0.0) * self.facts.max_feature_row[side]
        shift = prior + np.r_[np.full(order.rank, largest), self.max_bias[side]]
        return replace(order, scale=scale_for(2 * self._precision_bound(side) * float(shift @ shift)))

    def show_order(self, side: int, gram_bound: float = 0.0) -> Order:
        """The order of a pass that tells blocks of rows as they are; with the bound of the Gram's grid if known."""
        order = self.order(side)
        if not gram_bound:
            return order
        return replace(order, gram_grid=GramGrid.within(gram_bound, self.facts.rows[side]))

    def gram_bounds(self) -> tuple[float, float]:
        """What `show_order` needs to make the sides' Grams again."""
        users, items = (0.0 if known.gram_grid is None else known.gram_grid.largest for known in self.shown)
        return users, items

    def bias_order(self, side: int) -> Order:
        """A pass over biases alone: static biases, shrunk means of what the mean and the other side's leave over."""
        empty = np.zeros((len(self.projections[side]), 1))
        return replace(
            self.order(side), rank=0, learned=True, projection=empty, unseen=ALL_SEEN, gram_grid=None, graph_weight=0.0,
            nonnegative=False, biases_only=True,
        )  # fmt: skip

    def projection_scales(self, side: int) -> Scales:
        """Grids of both sums of the projection's normal equations (bounds: `kernels.projection`)."""
        x, precision = self.facts.max_feature[side], self._precision_bound(side)
        if self.settings.nonnegative:  # |v - u| of rows that are held fixed
            pull = 2 * precision * self._own_bound(side)
        else:
            pull = math.sqrt(precision * (self._target_bound(side) + self._prior_bound(side)))
        return Scales(scale_for(2 * x * x * precision), scale_for(2 * x * pull))

    def product_scales(self, side: int, direction: F64) -> Scales:
        """The grid of a product with a direction (d, k + 1): M_i ⪯ Λ_i bounds it."""
        largest = np.abs(direction).max(axis=0, initial=0.0) * self.facts.max_feature_row[side]
        pull = self._precision_bound(side) * math.sqrt(float(largest @ largest))
        return Scales(1.0, scale_for(2 * self.facts.max_feature[side] * pull))

    def edge_scale(self, side: int) -> float:
        """The grid of the graph's energy without α, ½ Σ_ij S_ij ‖v_i - v_j‖² ≤ 2 Σ_i d_i ‖v_i‖²."""
        rows, degree = self.facts.rows[side], self.facts.max_degree[side]
        return scale_for(4 * rows * degree * self._own_bound(side) ** 2)

    @property
    def has_cells(self) -> bool:
        """Whether cells without a rating are part of J."""
        return self._cells()[0] > 0

    def penalty(self, side: int) -> F64:
        """Ridge of the projection, (d, size): the last column is the bias's where biases are learned."""
        full = self._penalties[side]
        return full if self.side(side).bias == "learned" else full[:, :-1]

    def penalty_energy(self) -> float:
        """Σ_f λ_f ‖W_f‖² over both sides, factors and biases."""
        return sum(float((self._penalties[s] * self.projections[s] ** 2).sum()) for s in (USERS, ITEMS))

    def _sums_bound(self, side: int) -> float:
        """At least each sum of a half-sweep."""
        return 4 * (self._target_bound(side) + self._prior_bound(side))

    def _target_bound(self, side: int) -> float:
        """At least Σ w y² of a pass over the side."""
        biases = self.max_bias[side] + self.max_bias[other(side)]
        bound = self.facts.total_weight_bound * (self._spread() + biases) ** 2
        weight, target = self._cells()
        if target is not None:
            cells = self.facts.rows[USERS] * self.facts.rows[ITEMS]
            bound += weight * cells * (abs(target - self.mean) + biases) ** 2
        repeats = self.facts.most_repeats
        # A pair given twice is taken twice from the cells without a rating, whose sum may then be negative.
        return bound * (8 * repeats * repeats + 4 * repeats + 2) if self._each() and repeats > 1 else bound

    def _spread(self) -> float:
        return max(abs(self.facts.high - self.mean), abs(self.facts.low - self.mean))

    def _each(self) -> bool:
        return self.settings.feedback is not None

    def _cells(self) -> tuple[float, float | None]:
        """Weight of a cell without a rating, and its target, None for the baseline."""
        if self.settings.feedback is not None:
            return 1.0, 0.0
        unobserved = self.settings.unobserved
        return unobserved.weight, None if unobserved.target == "baseline" else unobserved.target

    def _unseen(self, side: int) -> Unseen:
        weight, target = self._cells()
        gram = self.shown[other(side)].gram
        if not weight or gram is None:
            return ALL_SEEN
        return Unseen(weight, target is not None, target or 0.0, self._each(), gram)

    def _gram_grid(self, side: int) -> GramGrid | None:
        if not self._cells()[0]:
            return None
        biases = self.max_bias[side] + self.max_bias[other(side)]
        largest = max(self.shown[USERS].largest, self.shown[ITEMS].largest, self._spread() + biases, 1.0)
        return GramGrid.within(_GROWTH * largest, self.facts.rows[side])

    def _prior_bound(self, side: int) -> float:
        """At least Σ_i m_iᵀ Λ_i m_i."""
        prior = np.abs(self.projections[side]).max(axis=0, initial=0.0) * self.facts.max_feature_row[side]
        norm = math.sqrt(float(prior @ prior))
        if self.side(side).graph:
            norm += self._own_bound(side)  # ‖u_i‖ ≤ max_j ‖v⁰_j‖
        return self._precision_bound(side) * norm * norm

    def _own_bound(self, side: int) -> float:
        """At least ‖θ_i - W̃ᵀx_i‖ of each row as it is."""
        return self.shown[side].largest_own * math.sqrt(self.settings.rank + 1)

    def _precision_bound(self, side: int) -> float:
        """At least Σ_i max(λ_i, λ_b) over the side's rows."""
        s = self.side(side)
        weight = self.facts.max_row_weight[side]
        factor = (s.reg * weight if s.reg_mode == "weighted" else s.reg) + s.reg_per_rating * weight
        return self.facts.rows[side] * max(factor + 2 * s.graph * self.facts.max_degree[side], s.reg_bias)


def _penalty(side: SideSettings, columns: Sequence[FeatureColumn], rank: int) -> F64:
    known = {c.group for c in columns}
    unknown = sorted(set(side.reg_groups) - known)
    if unknown:
        raise ConfigError(f"reg_groups names {unknown}, but the feature groups are {sorted(known)}")
    factor = np.array([side.reg_groups.get(c.group, 1.0) for c in columns]).reshape(-1, 1)
    base = np.r_[np.full(rank, side.reg_features), side.reg_feature_bias]
    return factor * base
