"""One fit of a study inside a Spark task: in chunks of iterations, or whole and judged. Executor; no Spark here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys_spark.als.checkpoint import Checkpoint
from recsys_spark.als.inprocess import InProcess
from recsys_spark.als.model import FittedModel
from recsys_spark.als.settings import AlsSettings
from recsys_spark.als.train import Columns, train
from recsys_spark.blocks.grouped import to_csr
from recsys_spark.blocks.layout import ITEMS, USERS, Block
from recsys_spark.blocks.pieces import GRAPH, graph_pieces
from recsys_spark.evaluate.lists import ndcg
from recsys_spark.kernels.rows import NO_F32, Csr
from recsys_spark.kernels.topk import SeenItems
from recsys_spark.schema import ITEM, RATING, USER
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.folds import Features, Fold


class Material(NamedTuple):
    """What a task needs of the study's data, each part of it as Spark shares it."""

    fold: Fold
    features: Features
    edges: pa.Table | None


class Chunk(NamedTuple):
    """Validation RMSE after each iteration of a chunk, and where the fit stands; None where it is done."""

    curve: tuple[float, ...]
    at: Checkpoint | None


class Judged(NamedTuple):
    """A whole fit, and what it makes of the judging ratings.

    Attributes
    ----------
    predictions : float32, one for each judging rating, clipped, with fallbacks for unknown ids
    popularity : int64, training ratings of each one's item
    history : as `als.model.HISTORY_SCHEMA`
    ndcg : float64, NDCG@k of each user who has a relevant judging rating
    seconds : of the fit alone, on one core
    """

    predictions: np.ndarray
    popularity: np.ndarray
    history: pa.Table
    ndcg: np.ndarray
    seconds: float


class _PausedError(Exception):
    """The fit has done its chunk."""


class _Pausing:
    """`als.checkpoint.Checkpoints` that hand the first one over instead of keeping it, and end the fit there."""

    def __init__(self, every: int, at: Checkpoint | None) -> None:
        self.every, self.at = every, at

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> None:
        # The best rows so far are of no use to a search; as the model's own, they travel once.
        self.at = replace(checkpoint, best=checkpoint.model)
        raise _PausedError

    def load(self, fingerprint: str) -> Checkpoint | None:
        return self.at

    def clear(self, fingerprint: str) -> None:
        self.at = None


def advance(material: Material, candidate: Candidate, at: Checkpoint | None, chunk: int) -> Chunk:
    """The next chunk of a fit; early stopping is off, so that folds stay together.

    Raises what `als.train.train` raises.
    """
    executor, columns = assembled(material, candidate)
    pausing = _Pausing(chunk, at)
    try:
        history = train(executor, _unstopped(candidate.train), columns, checkpoints=pausing).history
    except _PausedError:
        assert pausing.at is not None
        history = pausing.at.model.history
        done = 0 if at is None else at.progress.iteration
        return Chunk(tuple(history["validation_rmse"].to_pylist()[done:]), pausing.at)
    done = 0 if at is None else at.progress.iteration
    return Chunk(tuple(history["validation_rmse"].to_pylist()[done:]), None)


def judge(material: Material, candidate: Candidate, k: int, relevant: float) -> Judged:
    """Fit to the training ratings alone, for all of ``max_iter`` iterations, and predict the judging ones."""
    executor, columns = assembled(material, candidate, hide=True)
    began = time.perf_counter()
    model = train(executor, candidate.train, columns)
    seconds = time.perf_counter() - began
    judged = material.fold.judged
    items = model.item.index(judged[ITEM])
    counts = np.where(items >= 0, model.item.counts[items], 0.0)
    predictions = model.predict(judged[USER], judged[ITEM])
    gains = list_gains(model, material.fold, k, relevant)
    return Judged(predictions, counts.astype(np.int64), model.history, gains, seconds)


def assembled(material: Material, candidate: Candidate, *, hide: bool = False) -> tuple[InProcess, Columns]:
    """The fold's blocks with the candidate's features and graph; ``hide``: without the judging ratings."""
    columns, blocks = [], []
    for side, record in zip((USERS, ITEMS), material.fold.records, strict=True):
        block = Block.from_buffer(record)
        known = material.features.columns[side]
        kept = [c for c in known if candidate.groups is None or c.group in candidate.groups]
        columns.append(tuple(replace(c, index=at) for at, c in enumerate(kept)))
        if len(kept) < len(known):
            block = replace(block, features=_only(block.features, [c.index for c in kept], len(known)))
        if side == ITEMS and material.edges is not None:
            pieces = graph_pieces(material.edges.to_batches(), material.fold.plan, ITEMS)
            graph = to_csr([p.grouped for p in pieces if p.kind == GRAPH], block.start, block.stop)
            block = replace(block, graph=graph)
        if hide:
            block = replace(block, held_out=_empty(block.n_rows))
        blocks.append(block)
    plan = material.fold.plan
    sides = [replace(s, n_features=len(c)) for s, c in zip((plan.user, plan.item), columns, strict=True)]
    return InProcess(replace(plan, user=sides[USERS], item=sides[ITEMS]), blocks), (columns[USERS], columns[ITEMS])


def list_gains(model: FittedModel, fold: Fold, k: int, relevant: float) -> np.ndarray:
    """NDCG@k of users with a relevant judging rating: all items with a training rating, less those that they rated."""
    judged = fold.judged
    wanted = judged.filter(pa.compute.greater_equal(judged[RATING], relevant))
    grouped = wanted.group_by(USER).aggregate([(ITEM, "list")]).sort_by(USER)
    users = grouped[USER].combine_chunks()
    rows, number = fold.plan.user.rows(users), model.item.index(fold.plan.item.ids)
    rated = Block.from_buffer(fold.records[USERS]).ratings
    spans = [slice(rated.indptr[r], rated.indptr[r + 1]) if r >= 0 else slice(0) for r in rows]
    unrated = np.flatnonzero(model.item.counts == 0)
    left_out = [np.union1d(unrated, number[rated.cols[span]]) for span in spans]
    if not len(users):
        return np.empty(0)
    starts = np.r_[0, np.cumsum([len(part) for part in left_out], dtype=np.int64)]
    seen = SeenItems(starts, np.concatenate(left_out).astype(np.int64))
    lists, _ = model.top_n(users, k, seen=seen)
    relevant_rows = [model.item.index(pa.array(items)) for items in grouped[f"{ITEM}_list"].to_pylist()]
    return ndcg(lists, relevant_rows, k)


def _only(features: Csr, kept: list[int], width: int) -> Csr:
    """The columns that are kept, numbered anew."""
    number = np.full(width, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    cols = number[features.cols]
    inside = cols >= 0
    ends = np.r_[0, np.cumsum(inside, dtype=np.int64)]
    return Csr(ends[features.indptr], cols[inside], features.values[inside], NO_F32)


def _empty(rows: int) -> Csr:
    return Csr(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), NO_F32, NO_F32)


def _unstopped(settings: AlsSettings) -> AlsSettings:
    return settings.model_copy(
        update={"stop": settings.stop.model_copy(update={"patience": max(settings.max_iter, 1)})}
    )
