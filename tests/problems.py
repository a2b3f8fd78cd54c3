"""Small random problems for engine tests: ratings with biases, features and factors in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys_spark.als.inprocess import InProcess
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.plan import Plan, plan_side
from recsys_spark.features.columns import FeatureColumn


@dataclass
class Problem:
    """Ratings and features as tables; `mask`, `ratings` dense for the reference."""

    ratings: pa.Table  # user, item, rating, held_out
    user_features: pa.Table  # id, indices, values
    item_features: pa.Table
    columns: tuple[list[FeatureColumn], list[FeatureColumn]]

    def plan(self, users: int = 1, items: int = 1) -> Plan:
        """The plan for a grid."""
        train = self.ratings.filter(pa.compute.invert(self.ratings["held_out"]))
        sides = []
        for side, name, table, blocks in (
            (USERS, "user", self.user_features, users),
            (ITEMS, "item", self.item_features, items),
        ):
            counted = train.group_by(name).aggregate([([], "count_all")]).rename_columns(["id", "count"])
            sides.append(plan_side(side, counted, table["id"], len(self.columns[side]), blocks))
        return Plan(*sides)

    def executor(self, users: int = 1, items: int = 1) -> InProcess:
        """An in-process executor for a grid."""
        plan = self.plan(users, items)
        features = {USERS: self.user_features, ITEMS: self.item_features}
        return InProcess(plan, build_blocks(plan, self.ratings.to_batches(max_chunksize=97), features))


def problem(
    users: int = 40, items: int = 30, rank: int = 3, density: float = 0.4, noise: float = 0.3, seed: int = 0,
    held_out: float = 0.1, user_d: int = 2, item_d: int = 3,
) -> Problem:  # fmt: skip
    """A planted problem: biases, item features that predict factors and biases, low-rank interaction."""
    rng = np.random.default_rng(seed)
    user_ids, item_ids = np.sort(rng.choice(10_000, users, False)), np.sort(rng.choice(10_000, items, False))
    x = (rng.random((items, item_d)) < 0.5).astype(np.float32)
    s = (rng.random((users, user_d)) < 0.5).astype(np.float32)
    q = x @ rng.normal(0, 0.6, (item_d, rank)) + rng.normal(0, 0.3, (items, rank))
    p = s @ rng.normal(0, 0.6, (user_d, rank)) + rng.normal(0, 0.5, (users, rank))
    score = 3.4 + rng.normal(0, 0.4, (users, 1)) + x @ rng.normal(0, 0.4, item_d) + p @ q.T
    score = score + rng.normal(0, noise, score.shape)
    u, i = np.nonzero(rng.random(score.shape) < density)
    order = rng.permutation(len(u))
    u, i = u[order], i[order]
    table = pa.table(
        {
            "user": user_ids[u],
            "item": item_ids[i],
            "rating": score[u, i].astype(np.float32),
            "held_out": rng.random(len(u)) < held_out,
        }
    )
    return Problem(
        table, _features(user_ids, s), _features(item_ids, x), (_columns("group", user_d), _columns("genre", item_d))
    )


def _features(ids: np.ndarray, x: np.ndarray) -> pa.Table:
    indices = [np.flatnonzero(row).tolist() for row in x]
    values = [row[row != 0].tolist() for row in x]
    return pa.table(
        {
            "id": ids,
            "indices": pa.array(indices, pa.list_(pa.int32())),
            "values": pa.array(values, pa.list_(pa.float32())),
        }
    )


def _columns(group: str, d: int) -> list[FeatureColumn]:
    return [FeatureColumn(i, group, f"{group}={i}", None, None) for i in range(d)]
