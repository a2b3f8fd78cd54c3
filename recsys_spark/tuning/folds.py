"""The folds of a study as data that tasks share: training ratings in blocks, and the ratings that judge; driver.

All fits of a fold read the same blocks, one of each side; a variant's features and graph are put in by the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_spark import schema
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.pieces import build_blocks
from recsys_spark.blocks.plan import Plan, plan_side
from recsys_spark.errors import DataError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.ingest.splits import kfold

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

INNER = "inner"


@dataclass(frozen=True, eq=False)
class Features:
    """Feature rows (id, indices, values) of users and items, and what their columns mean."""

    rows: tuple[pa.Table, pa.Table]
    columns: tuple[Sequence[FeatureColumn], Sequence[FeatureColumn]]


@dataclass(frozen=True, eq=False)
class Fold:
    """One split into training and judging ratings.

    Attributes
    ----------
    plan : ids of both sides, one block each
    records : the blocks as `Block.to_bytes` makes them; judging ratings lie beside the user block as held out
    judged : user, item, rating: all of the judging ratings, unknown ids too
    """

    plan: Plan
    records: tuple[bytearray, ...]
    judged: pa.Table


def outer_name(fold: int) -> str:
    """What an outer fold is called."""
    return f"outer-{fold}"


def inner_names(fold: int, inner: int) -> tuple[str, ...]:
    """What the inner folds of an outer one are called."""
    return tuple(f"{outer_name(fold)}/inner-{j}" for j in range(inner))


def collect_ratings(split: DataFrame, inner: int, seed: int) -> pa.Table:
    """(user, item, rating, fold, inner): the outer fold as the split has it, the inner one by another hash."""
    outer = split.select(schema.USER, schema.ITEM, schema.RATING, schema.FOLD)
    renamed = outer.withColumnRenamed(schema.FOLD, "outer")
    both = kfold(renamed, inner, seed + 1).withColumnRenamed(schema.FOLD, INNER)
    return both.withColumnRenamed("outer", schema.FOLD).orderBy(schema.USER, schema.ITEM).toArrow().combine_chunks()


def make_folds(ratings: pa.Table, features: Features, outer: int, inner: int) -> dict[str, Fold]:
    """Every outer fold and every inner fold of each, by name.

    Raises
    ------
    DataError
        A fold without training or judging ratings: there are too many of them for the data.
    """
    found: dict[str, Fold] = {}
    by_outer, by_inner = ratings[schema.FOLD], ratings[INNER]
    for o in range(outer):
        outside = pc.not_equal(by_outer, o)
        found[outer_name(o)] = make_fold(ratings, pc.equal(by_outer, o), features, outer_name(o))
        training = ratings.filter(outside)
        for i, name in enumerate(inner_names(o, inner)):
            found[name] = make_fold(training, pc.equal(by_inner.filter(outside), i), features, name)
    return found


def share_name(fold: int, share: float) -> str:
    """What an outer fold is called that has a share of its training ratings."""
    return outer_name(fold) if share == 1 else f"{outer_name(fold)}/share-{share:g}"


def share_folds(
    ratings: pa.Table, features: Features, outer: int, parts: int, *, shares: Sequence[float]
) -> dict[str, Fold]:
    """Every outer fold with shares of its training ratings, by name; what a smaller share holds, a larger one does too.

    Parameters
    ----------
    parts : in how many the column ``inner`` divides the training ratings: shares are rounded to so many

    Raises
    ------
    DataError
        As `make_folds`.
    """
    found: dict[str, Fold] = {}
    for o in range(outer):
        judging = pc.equal(ratings[schema.FOLD], o)
        for share in shares:
            kept = pc.or_(judging, pc.less(ratings[INNER], round(share * parts)))
            name = share_name(o, share)
            found[name] = make_fold(ratings.filter(kept), judging.filter(kept), features, name)
    return found


def make_fold(ratings: pa.Table, judging: pa.ChunkedArray, features: Features, name: str) -> Fold:
    """A fold of the ratings: those that are ``judging`` (bool) beside the others."""
    train, judged = ratings.filter(pc.invert(judging)), ratings.filter(judging)
    if not len(train) or not len(judged):
        raise DataError(
            f"fold {name} has {len(train)} training and {len(judged)} judging ratings: choose fewer study.folds or "
            "study.inner_folds"
        )
    sides = []
    for side in (USERS, ITEMS):
        key = SIDE_NAMES[side]
        counts = train.group_by(key).aggregate([([], "count_all")]).rename_columns(["id", "count"])
        rows = features.rows[side]
        sides.append(plan_side(side, counts, rows["id"] if len(rows) else None, len(features.columns[side]), 1))
    plan = Plan(sides[USERS], sides[ITEMS])
    held_out = ratings.select([schema.USER, schema.ITEM, schema.RATING]).append_column("held_out", judging)
    known = {side: table for side, table in enumerate(features.rows) if len(table)}
    blocks = build_blocks(plan, held_out.to_batches(), known)
    judged = judged.select([schema.USER, schema.ITEM, schema.RATING])
    return Fold(plan, tuple(bytearray(block.to_bytes()) for block in blocks), judged)


def shares(folds: Mapping[str, Fold], names: Sequence[str]) -> float:
    """Mean of judging over training ratings of some folds: the n₂/n₁ of a corrected interval."""
    ratios = [len(folds[n].judged) / _training(folds[n]) for n in names]
    return float(np.mean(ratios))


def _training(fold: Fold) -> int:
    from recsys_spark.blocks.layout import Block

    return len(Block.from_buffer(fold.records[0]).ratings.values)
