"""Small random problems for engine tests: ratings with biases, features and factors in them."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    graphs: dict[int, pa.Table] = field(default_factory=dict)  # i, j, s by side

    def plan(self, users: int = 1, items: int = 1) -> Plan:
        """The plan for a grid."""
        train = self.ratings.filter(pa.compute.invert(self.ratings["held_out"]))
        sides = []
        for side, name, table, blocks in (
            (USERS, "user", self.user_features, users),
            (ITEMS, "item", self.item_features, items),
        ):
            counted = train.group_by(name).aggregate([([], "count_all")]).rename_columns(["id", "count"])
            tied = self.graphs[side]["i"].chunks if side in self.graphs else []
            ids = pa.chunked_array([*table["id"].chunks, *tied])
            sides.append(plan_side(side, counted, ids, len(self.columns[side]), blocks))
        return Plan(*sides)

    def executor(self, users: int = 1, items: int = 1) -> InProcess:
        """An in-process executor for a grid."""
        plan = self.plan(users, items)
        features = {USERS: self.user_features, ITEMS: self.item_features}
        return InProcess(plan, build_blocks(plan, self.ratings.to_batches(max_chunksize=97), features, self.graphs))


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
        table,
        feature_table(user_ids, s),
        feature_table(item_ids, x),
        (columns_of("group", user_d), columns_of("genre", item_d)),
    )


def feature_table(ids: np.ndarray, x: np.ndarray) -> pa.Table:
    indices = [np.flatnonzero(row).tolist() for row in x]
    values = [row[row != 0].tolist() for row in x]
    return pa.table(
        {
            "id": ids,
            "indices": pa.array(indices, pa.list_(pa.int32())),
            "values": pa.array(values, pa.list_(pa.float32())),
        }
    )


def graph_table(s: np.ndarray, ids: np.ndarray | None = None) -> pa.Table:
    """Edges of a dense symmetric S."""
    i, j = np.nonzero(s)
    name = np.arange(len(s)) if ids is None else ids
    return pa.table({"i": name[i], "j": name[j], "s": s[i, j].astype(np.float32)})


def columns_of(group: str, d: int) -> list[FeatureColumn]:
    return [FeatureColumn(i, group, f"{group}={i}", None, None) for i in range(d)]
