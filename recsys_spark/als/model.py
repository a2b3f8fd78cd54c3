"""A fitted model as plain arrays: what training returns and scoring, saving and serving share. No Spark here.

Symbols are those of the whole package: p_u, q_i factors of rank k; b_u, c_i biases; μ the mean; a side's projection is
H (users) or W (items), d features wide, and its bias projection h or w.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_spark.als.settings import AlsSettings
from recsys_spark.blocks.partition import lookup
from recsys_spark.errors import DataError
from recsys_spark.features.columns import FeatureColumn
from recsys_spark.kernels.catalogue import Catalogue, lengths_of
from recsys_spark.kernels.predict import score_pairs
from recsys_spark.kernels.start import keys_of
from recsys_spark.kernels.topk import SeenItems, search

Unknown = Literal["fallback", "nan"]
UNKNOWN_ROW = -1

HISTORY_SCHEMA = pa.schema(
    [("iteration", pa.int32())]
    + [
        (name, pa.float64())
        for name in (
            "seconds",
            "objective",
            "sse",
            "train_rmse",
            "validation_rmse",
            "reg_user",
            "reg_item",
            "reg_user_bias",
            "reg_item_bias",
            "reg_projection",
            "unobserved",
            "graph_user",
            "graph_item",
            "seconds_compute",
            "seconds_exchange",
            "seconds_driver",
            "seconds_spark",
            "bytes_moved",
        )
    ]
)
"""One row per iteration; validation_rmse is NaN where there is none; objective = sse + all other terms; seconds by
phase and bytes moved as `als.meter` counts them."""

NO_CLIP = float(np.finfo(np.float32).max)
"""Bounds of a scale that has none: what JSON can hold of infinity."""

MEASURED = tuple(n for n in HISTORY_SCHEMA.names if n.startswith(("seconds", "bytes")))
"""Columns of the history that no two fits share: all others have the same bits."""


@dataclass(frozen=True, eq=False)
class SideFacts:
    """What a model holds of a side beside its rows.

    columns: d feature columns, whose index is their position.
    projection: float64 (d, k).  projection_bias: float64 (d,).
    """

    columns: tuple[FeatureColumn, ...]
    projection: NDArray[np.float64]
    projection_bias: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitFacts:
    """What a model holds beside its sides.

    clip: the scale that predictions are clipped to.  history: one row per iteration, HISTORY_SCHEMA.
    best_iteration: the iteration these factors are of.  stop_reason: a sentence.
    """

    mu: float
    clip: tuple[float, float]
    settings: AlsSettings
    history: pa.Table
    best_iteration: int
    stop_reason: str


@dataclass(frozen=True, eq=False)
class SideModel(SideFacts):
    """One side (users or items) of a fitted model: n rows, rank k, d feature columns.

    ids: pa.Array (n,) int64, string or large_string; sorted, unique, no null. Row numbers everywhere refer to it.
    factors: float32 (n, k), C-contiguous.  biases: float32 (n,).
    counts: float64 (n,), Σ weights of the row's training ratings; 0 means known by its features alone (the row then
        holds its prior).

    Raises ValueError where shapes, types or the order of the ids do not fit.
    """

    ids: pa.Array
    factors: NDArray[np.float32]
    biases: NDArray[np.float32]
    counts: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows, width, rank = len(self.ids), len(self.columns), self.factors.shape[-1]
        for name, array, dtype, shape in (
            ("factors", self.factors, np.float32, (rows, rank)),
            ("biases", self.biases, np.float32, (rows,)),
            ("counts", self.counts, np.float64, (rows,)),
            ("projection", self.projection, np.float64, (width, rank)),
            ("projection_bias", self.projection_bias, np.float64, (width,)),
        ):
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} must be C-contiguous {np.dtype(dtype)} {shape}, found {array.dtype} {array.shape}"
                )
        if [column.index for column in self.columns] != list(range(width)):
            raise ValueError("the index of a feature column must be its position")
        _check_ids(self.ids)

    @classmethod
    def plain(
        cls,
        ids: pa.Array,
        factors: NDArray[np.float32],
        biases: NDArray[np.float32] | None = None,
        counts: NDArray[np.float64] | None = None,
    ) -> SideModel:
        """Rows without features, for models that another algorithm made; biases are 0, counts 1 where not given."""
        rows, rank = factors.shape
        return cls(
            ids=ids,
            factors=factors,
            biases=np.zeros(rows, np.float32) if biases is None else biases,
            counts=np.ones(rows) if counts is None else counts,
            columns=(),
            projection=np.zeros((0, rank)),
            projection_bias=np.zeros(0),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rank(self) -> int:
        """Width k of the factors; 0 for a model of biases alone."""
        return int(self.factors.shape[1])

    def index(self, ids: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Row numbers of ids, int64 (len(ids),); -1 where an id is unknown or null.

        Takes any integer type where the model's ids are integers, any string type where they are strings; DataError
        otherwise.
        """
        if pa.types.is_null(ids.type):
            return np.full(len(ids), UNKNOWN_ROW, np.int64)
        integers = pa.types.is_integer(self.ids.type)
        fits = pa.types.is_integer(ids.type) if integers else _is_string(ids.type)
        if not fits:
            raise DataError(
                f"ids of type {ids.type} looked up in a model whose ids are {self.ids.type}; cast them first"
            )
        return lookup(self.ids, ids)

    def gather(self, ids: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Factors (len(ids), k) and biases (len(ids),) of ids, zero where unknown; errors as `index`."""
        return self.gather_rows(self.index(ids))

    def gather_rows(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`gather` for row numbers, as `index` gives them."""
        known = rows >= 0
        factors, biases = np.zeros((len(rows), self.rank), np.float32), np.zeros(len(rows), np.float32)
        factors[known], biases[known] = self.factors[rows[known]], self.biases[rows[known]]
        return factors, biases


@dataclass(frozen=True, eq=False)
class FittedModel(FitFacts):
    """Everything a fit leaves behind; runs on the driver, in an executor's task or in a server alike."""

    user: SideModel
    item: SideModel

    def __post_init__(self) -> None:
        if self.user.rank != self.item.rank:
            raise ValueError(f"user factors have rank {self.user.rank}, item factors {self.item.rank}")
        if not self.clip[0] <= self.clip[1]:
            raise ValueError(f"clip must be (low, high) with low <= high, found {self.clip}")

    @classmethod
    def plain(
        cls, user: SideModel, item: SideModel, settings: AlsSettings | None = None, stop_reason: str = ""
    ) -> FittedModel:
        """A model that another algorithm made: r̂ = b_u + c_i + p_u · q_i, unclipped, without a history."""
        return cls(
            user=user,
            item=item,
            mu=0.0,
            clip=(-NO_CLIP, NO_CLIP),
            settings=settings or AlsSettings(rank=user.rank),
            history=HISTORY_SCHEMA.empty_table(),
            best_iteration=0,
            stop_reason=stop_reason,
        )

    @property
    def rank(self) -> int:
        """Width k of both sides' factors."""
        return self.user.rank

    def fingerprint(self) -> bytes:
        """A hash of rows and projections."""
        digest = hashlib.blake2b(digest_size=16)
        for side in (self.user, self.item):
            for array in (side.factors, side.biases, side.projection, side.projection_bias):
                digest.update(array.tobytes())
            digest.update(keys_of(side.ids).tobytes())
        return digest.digest()

    def predict(
        self,
        users: pa.Array | pa.ChunkedArray,
        items: pa.Array | pa.ChunkedArray,
        *,
        unknown: Unknown = "fallback",
        clip: bool = True,
    ) -> NDArray[np.float32]:
        """Predicted ratings of n (user, item) pairs, float32 (n,); the same bits in any batch.

        An unknown user gets μ + c_i, an unknown item μ + b_u, both unknown μ; with unknown="nan" all of these get NaN.
        A row that is known by its features alone is known. DataError where ids have the wrong type or lengths differ.
        """
        if len(users) != len(items):
            raise DataError(f"{len(users)} users and {len(items)} items given; predict scores pairs of equal number")
        return self.predict_rows(self.user.index(users), self.item.index(items), unknown=unknown, clip=clip)

    def predict_rows(
        self,
        user_rows: NDArray[np.int64],
        item_rows: NDArray[np.int64],
        *,
        unknown: Unknown = "fallback",
        clip: bool = True,
    ) -> NDArray[np.float32]:
        """`predict` for row numbers, as `SideModel.index` gives them (-1: unknown)."""
        scores = score_pairs(
            self.mu, self.user.factors, self.user.biases, self.item.factors, self.item.biases, user_rows, item_rows
        )
        if clip:
            np.clip(scores, np.float32(self.clip[0]), np.float32(self.clip[1]), out=scores)
        if unknown == "nan":
            scores[(user_rows < 0) | (item_rows < 0)] = np.nan
        return scores

    def top_n(
        self, users: pa.Array | pa.ChunkedArray, n: int, *, seen: SeenItems | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The n best items of each of m users by unclipped score: (item rows int64 (m, n), scores float32 (m, n)).

        Ties go to the lower item row. `seen` holds, per user in the order given, item rows to leave out. A user with
        fewer than n items left gets row -1 and score NaN in the last places. An unknown user is ranked by μ + c_i.
        Scores are those of `predict(clip=False)`, bit for bit.
        """
        factors, biases = self.user.gather(users)
        return search(self._catalogue, self.mu, factors, biases, n, seen)

    @cached_property
    def _catalogue(self) -> Catalogue:
        """All items, laid out once for `top_n`: that takes longer than serving one user does."""
        return Catalogue.of(self.item.factors, self.item.biases, lengths_of(self.user.factors))

    def __getstate__(self) -> dict[str, Any]:
        """What travels: the fields alone."""
        return {name: value for name, value in self.__dict__.items() if name != "_catalogue"}


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_ids(ids: pa.Array) -> None:
    """Sorted, unique, without nulls, of a type the package knows; ValueError otherwise."""
    if not (ids.type == pa.int64() or _is_string(ids.type)):
        raise ValueError(f"ids must be int64 or strings, found {ids.type}")
    if ids.null_count:
        raise ValueError(f"ids hold {ids.null_count} null(s)")
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise ValueError("ids must be sorted and unique")
