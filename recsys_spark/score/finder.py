"""Top-N of one side for rows of the other, as a task does it: from record batches to record batches, without Spark.

Written for a served side and its candidates, the other one: items for users, or users for items. A task lays out the
candidates once (`kernels.catalogue`) and then holds a batch of rows at a time, and eight bytes for each pair seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.blocks.layout import SIDE_NAMES, USERS
from recsys_spark.errors import DataError
from recsys_spark.kernels.catalogue import Catalogue, lengths_of
from recsys_spark.kernels.predict import score_pairs
from recsys_spark.kernels.topk import SeenItems, search

Metric = Literal["score", "cosine"]
ID, OTHER, RECOMMENDATIONS, RATING = "id", "other", "recommendations", "rating"
ROWS_AT_ONCE = 2048
_ASKED, _UNKNOWN = -2, -1


class Shared(Protocol):
    """What a Spark broadcast of a model is to a task."""

    @property
    def value(self) -> FittedModel:
        """The model."""


@dataclass(frozen=True)
class Ranking:
    """How many, of which candidates, in which order; what is shown beside them is always r̂, unclipped.

    n: places.
    item_bias_weight: β in [0, 1]; items for a user are ordered by μ + b_u + β c_i + p_u · q_i: 1 is the score, less
        puts taste over popularity. Users for an item share its bias, so β says nothing there.
    metric: ``score``, or ``cosine``: ordered by p_u · q_i / (‖p_u‖ ‖q_i‖), the direction of taste alone, without biases
        and without the length that many ratings give to factors.
    min_ratings: candidates have at least so many training ratings (weights added up).
    candidates: their row numbers, ascending; None: all.

    Ties go to the lower id. Raises DataError where a number makes no sense.
    """

    n: int
    item_bias_weight: float = 1.0
    metric: Metric = "score"
    min_ratings: float = 0.0
    candidates: NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise DataError(f"the number of recommendations must be at least 1, found {self.n}")
        if not 0 <= self.item_bias_weight <= 1:
            raise DataError(f"itemBiasWeight must be between 0 and 1, found {self.item_bias_weight}")
        if self.metric not in ("score", "cosine"):
            raise DataError(f"metric must be score or cosine, found {self.metric!r}")
        if self.metric == "cosine" and self.item_bias_weight != 1:
            raise DataError("metric cosine orders without biases: itemBiasWeight says nothing there, leave it out")
        if not self.min_ratings >= 0:
            raise DataError(f"minRatings must be at least 0, found {self.min_ratings}")


class Finder:
    """A model's candidates laid out for the rows of one side; built and used by a task, or anywhere without Spark."""

    def __init__(self, model: FittedModel, side: int, ranking: Ranking) -> None:
        self.model, self.ranking, self.users = model, ranking, side == USERS
        self.served, self.others = (model.user, model.item) if self.users else (model.item, model.user)
        factors, biases = self.others.factors, self.others.biases
        if ranking.metric == "cosine":
            lengths = lengths_of(factors)[:, None]
            factors = np.divide(factors, lengths, out=np.zeros_like(factors), where=lengths > 0, casting="same_kind")
            biases = np.zeros_like(biases)
        elif self.users and ranking.item_bias_weight != 1:
            biases = (ranking.item_bias_weight * biases.astype(np.float64)).astype(np.float32)
        allowed = self.others.counts >= ranking.min_ratings
        if ranking.candidates is not None:
            allowed &= np.isin(np.arange(len(allowed)), ranking.candidates)
        self._catalogue = Catalogue.of(factors, biases, lengths_of(self.served.factors), np.flatnonzero(allowed))

    def best(
        self, factors: NDArray[np.float32], biases: NDArray[np.float32], seen: SeenItems | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(candidate rows int64 (m, n), r̂ float32 (m, n)) for m rows of factors and biases; empty places: -1, NaN.

        The r̂ of a row of the model are `FittedModel.predict(clip=False)`, bit for bit.
        """
        rows, scores = search(self._catalogue, self.model.mu, factors, biases, self.ranking.n, seen)
        found = rows >= 0
        mine, other = np.nonzero(found)[0], rows[found]
        of_rows, of_others = (factors, biases), (self.others.factors, self.others.biases)
        if self.users:
            scores[found] = score_pairs(self.model.mu, *of_rows, *of_others, mine, other)
        else:
            scores[found] = score_pairs(self.model.mu, *of_others, *of_rows, other, mine)
        return rows, scores

    def batch(
        self, ids: pa.Array, factors: NDArray[np.float32], biases: NDArray[np.float32], seen: SeenItems | None = None
    ) -> pa.RecordBatch:
        """(id, recommendations: list of (id, rating)) of the rows with these ids."""
        rows, scores = self.best(factors, biases, seen)
        found = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)
        items = _plain(self.others.ids.take(pa.array(rows[found])))
        pairs = pa.StructArray.from_arrays([items, pa.array(scores[found])], [OTHER, RATING])
        return pa.RecordBatch.from_arrays(
            [_plain(ids), pa.ListArray.from_arrays(offsets, pairs)], [ID, RECOMMENDATIONS]
        )


def for_rows(
    shared: Shared, side: int, ranking: Ranking, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """From batches of ascending row numbers, one after the other, to recommendations; runs on executors."""
    finder: Finder | None = None
    for batch in batches:
        finder = finder or Finder(shared.value, side, ranking)
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            rows = batch.column(0).slice(start, ROWS_AT_ONCE)
            at = rows.to_numpy()
            yield finder.batch(finder.served.ids.take(rows), finder.served.factors[at], finder.served.biases[at])


def for_ids(
    shared: Shared, side: int, ranking: Ranking, fallback: bool, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """From (id, other id it has seen, or null: it is asked for), in any order, to recommendations; runs on executors.

    All rows of an id are in one partition. Ids that the model does not know are left out, unless there is a `fallback`:
    they are then served by the candidates' biases.
    """
    model = shared.value
    served, others = (model.user, model.item) if side == USERS else (model.item, model.user)
    known, strange = [np.empty((2, 0), np.int32)], []
    for batch in batches:
        ids, other = batch.column(0), batch.column(1)
        rows = served.index(ids)
        places = np.where(pc.is_valid(other).to_numpy(zero_copy_only=False), others.index(other), _ASKED)
        kept = (rows >= 0) & (places != _UNKNOWN)  # an unknown item cannot be recommended anyway
        known.append(np.stack([rows[kept], places[kept]]).astype(np.int32))
        if fallback and (rows < 0).any():
            mask = pa.array(rows < 0)
            strange.append(pa.table({ID: ids.filter(mask), OTHER: pa.array(places[rows < 0], pa.int32())}))
    rows, seen = _grouped(*np.concatenate(known, axis=1))
    if len(rows):
        yield from _in_batches(Finder(model, side, ranking), served.ids.take(pa.array(rows)), served, rows, seen)
    if strange:
        table = pa.concat_tables(strange).combine_chunks()
        coded = table.column(0).combine_chunks().dictionary_encode()
        wanted, seen = _grouped(coded.indices.to_numpy(), table.column(1).to_numpy())
        ids = coded.dictionary.take(pa.array(wanted))
        yield from _in_batches(Finder(model, side, ranking), ids, served, np.full(len(wanted), _UNKNOWN), seen)


def _grouped(rows: NDArray[np.int32], places: NDArray[np.int32]) -> tuple[NDArray[np.int64], SeenItems]:
    """The rows that are asked for (_ASKED), ascending, and what each has seen."""
    wanted = np.unique(rows[places == _ASKED]).astype(np.int64)
    pairs = places >= 0
    rows, places = rows[pairs], places[pairs]
    order = np.argsort(rows, kind="stable")
    rows, places = rows[order], places[order]
    mine = np.isin(rows, wanted)
    rows, places = rows[mine], places[mine]
    indptr = np.concatenate([np.searchsorted(rows, wanted), [len(rows)]]).astype(np.int64)
    return wanted, SeenItems(indptr, places.astype(np.int64))


def _in_batches(
    finder: Finder, ids: pa.Array, served: SideModel, rows: NDArray[np.int64], seen: SeenItems
) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        at = rows[part]
        listed = SeenItems(seen.indptr[start : start + len(at) + 1], seen.items)
        yield finder.batch(ids.slice(start, ROWS_AT_ONCE), *served.gather_rows(at), listed)


def for_profiles(
    shared: Shared, side: int, ranking: Ranking, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """From (id, indices, values) of features to recommendations for what they predict; runs on executors."""
    finder: Finder | None = None
    for batch in batches:
        finder = finder or Finder(shared.value, side, ranking)
        side_model = finder.served
        factors = np.zeros((batch.num_rows, side_model.rank), np.float32)
        biases = np.zeros(batch.num_rows, np.float32)
        for row, (at, x) in enumerate(zip(batch.column(1).to_pylist(), batch.column(2).to_pylist(), strict=True)):
            places, values = np.array(at or [], np.int64), np.array(x or [], np.float64)
            if len(places) != len(values) or (places < 0).any() or (places >= len(side_model.columns)).any():
                raise DataError(
                    f"feature row {batch.column(0)[row].as_py()!r} has indices {at} and values {x}; the model's "
                    f"{SIDE_NAMES[side]} features are numbered 0 to {len(side_model.columns) - 1}"
                )
            factors[row] = values @ side_model.projection[places]
            biases[row] = values @ side_model.projection_bias[places]
        yield finder.batch(batch.column(0), factors, biases)


def _plain(ids: pa.Array) -> pa.Array:
    """Strings as Spark takes them."""
    return ids.cast(pa.string()) if pa.types.is_large_string(ids.type) else ids
