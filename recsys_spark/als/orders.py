"""From settings and the data's facts to the orders of each pass: bounds, grids, precisions. Driver.

Every bound is made of maxima and counts, which have no rounding order, so the grids, and with them the exact sums, are
the same for every partitioning of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.work import Order, Survey
from recsys_spark.blocks.layout import ITEMS, USERS, other
from recsys_spark.errors import ConfigError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.exact import scale_for
from recsys_spark.kernels.projection import Scales
from recsys_spark.kernels.rows import F64

# Box–Muller on 53-bit uniforms stays below 8.7 standard deviations; factors start with variance 1/k.
_MAX_START_ENERGY = 76.0
# Unknowns of a projection that its direct solve takes: each block sends back half their square in int64, 144 MB here.
MAX_UNKNOWNS = 6000


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of the data before the first pass."""

    counts: tuple[F64, F64]  # Σw per row of users, items
    ratings: int
    held_out: int
    low: float
    high: float
    max_weight: float
    max_row_weight: tuple[float, float]
    max_feature: tuple[float, float]
    max_feature_row: tuple[float, float]

    @classmethod
    def merged(cls, users: Sequence[Survey], items: Sequence[Survey]) -> Facts:
        """Facts of all blocks of both sides, each by start."""
        both = (users, items)

        def largest(name: str) -> tuple[float, float]:
            return tuple(max(getattr(s, name) for s in side) for side in both)

        return cls(
            (np.concatenate([s.counts for s in users]), np.concatenate([s.counts for s in items])),
            sum(s.ratings for s in users),
            sum(s.held_out for s in users),
            min(s.low for s in users),
            max(s.high for s in users),
            max(largest("max_weight")),
            largest("max_row_weight"),
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


class Orders:
    """Makes the order of each pass. Holds no factor, only what bounds and regularises them."""

    def __init__(
        self,
        settings: AlsSettings,
        facts: Facts,
        mean: float,
        columns: tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]],
    ) -> None:
        self.settings, self.facts, self.mean = settings, facts, mean
        self.clip = settings.clip or (facts.low, facts.high)
        self.max_bias = [0.0, 0.0]
        self._penalties = tuple(_penalty(self.side(s), columns[s], settings.rank) for s in (USERS, ITEMS))
        self.projections = [np.zeros((len(columns[s]), settings.rank + 1)) for s in (USERS, ITEMS)]

    def side(self, side: int) -> SideSettings:
        """The settings of USERS or ITEMS."""
        return self.settings.user if side == USERS else self.settings.item

    def order(self, side: int, ticket: str = "") -> Order:
        """The next pass over a side, at the current projections and the other side's largest bias."""
        s = self.side(side)
        clip_width = max(self.clip[1], self.facts.high) - min(self.clip[0], self.facts.low)
        return Order(
            side=side,
            rank=self.settings.rank,
            mean=self.mean,
            reg=s.reg,
            reg_mode=s.reg_mode,
            reg_bias=s.reg_bias,
            learned=s.bias == "learned",
            projection=self.projections[side],
            scale=scale_for(2 * (self._target_bound(side) + self._prior_bound(side))),
            clip=self.clip,
            held_out_scale=scale_for(2 * self.facts.held_out * clip_width**2),
            ticket=ticket,
        )

    def start_order(self, side: int) -> Order:
        """The order of the initial factors, whose grid holds their energy."""
        order = self.order(side)
        return replace(order, scale=scale_for(2 * self._precision_bound(side) * _MAX_START_ENERGY))

    def energy_order(self, side: int, largest: float) -> Order:
        """The order of a pass that adds up the energy of given rows, whose entries are at most ``largest``."""
        order = self.order(side)
        prior = np.abs(self.projections[side]).max(axis=0, initial=0.0) * self.facts.max_feature_row[side]
        shift = prior + np.r_[np.full(order.rank, largest), self.max_bias[side]]
        return replace(order, scale=scale_for(2 * self._precision_bound(side) * float(shift @ shift)))

    def bias_order(self, side: int) -> Order:
        """A pass over biases alone: static biases, shrunk means of what the mean and the other side's leave over."""
        empty = np.zeros((len(self.projections[side]), 1))
        return replace(self.order(side), rank=0, learned=True, projection=empty)

    def projection_scales(self, side: int) -> Scales:
        """Grids of both sums of the projection's normal equations (bounds: `kernels.projection`)."""
        x, precision = self.facts.max_feature[side], self._precision_bound(side)
        energy = self._target_bound(side) + self._prior_bound(side)
        return Scales(scale_for(2 * x * x * precision), scale_for(2 * x * math.sqrt(precision * energy)))

    def penalty(self, side: int) -> F64:
        """Ridge of the projection, (d, size): the last column is the bias's where biases are learned."""
        full = self._penalties[side]
        return full if self.side(side).bias == "learned" else full[:, :-1]

    def penalty_energy(self) -> float:
        """Σ_f λ_f ‖W_f‖² over both sides, factors and biases."""
        return sum(float((self._penalties[s] * self.projections[s] ** 2).sum()) for s in (USERS, ITEMS))

    def _target_bound(self, side: int) -> float:
        """At least Σ w y² of a pass over the side."""
        spread = max(abs(self.facts.high - self.mean), abs(self.facts.low - self.mean))
        return self.facts.total_weight_bound * (spread + self.max_bias[side] + self.max_bias[other(side)]) ** 2

    def _prior_bound(self, side: int) -> float:
        """At least Σ_i m_iᵀ Λ_i m_i."""
        prior = np.abs(self.projections[side]).max(axis=0, initial=0.0) * self.facts.max_feature_row[side]
        return self._precision_bound(side) * float(prior @ prior)

    def _precision_bound(self, side: int) -> float:
        """At least Σ_i max(λ_i, λ_b) over the side's rows."""
        s = self.side(side)
        factor = s.reg * self.facts.max_row_weight[side] if s.reg_mode == "weighted" else s.reg
        return len(self.facts.counts[side]) * max(factor, s.reg_bias)


def _penalty(side: SideSettings, columns: Sequence[FeatureColumn], rank: int) -> F64:
    known = {c.group for c in columns}
    unknown = sorted(set(side.reg_groups) - known)
    if unknown:
        raise ConfigError(f"reg_groups names {unknown}, but the feature groups are {sorted(known)}")
    if len(columns) * (rank + 1) > MAX_UNKNOWNS:
        raise ConfigError(
            f"{len(columns)} feature columns at rank {rank} make a projection of {len(columns) * (rank + 1)} unknowns, "
            f"more than the {MAX_UNKNOWNS} that are solved directly: raise min_count or width of a feature group, drop "
            "one, or lower the rank"
        )
    factor = np.array([side.reg_groups.get(c.group, 1.0) for c in columns]).reshape(-1, 1)
    base = np.r_[np.full(rank, side.reg_features), side.reg_feature_bias]
    return factor * base
