"""Many small fits at once, each inside one Spark task; driver.

Folds go to executors as one broadcast each, features as another, a graph when it is first asked for; a worker reads
each of them once. What a task is given and gives back is one fit's rows, or its predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from recsys_spark.als.checkpoint import Checkpoint
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES
from recsys_spark.errors import ConfigError, RecsysError
from recsys_spark.features.graph import similarity_graph
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.fitting import Chunk, Judged, Material, advance, judge
from recsys_spark.tuning.folds import Features, Fold

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import SparkSession

    from recsys_spark.config import GraphSpec

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Fit(NamedTuple):
    """A candidate on a fold, and where its fit stands."""

    fold: str
    candidate: Candidate
    at: Checkpoint | None = None


class Lab:
    """Runs fits over tasks; a context manager that destroys what it broadcast.

    Parameters
    ----------
    folds : by name
    chunk : iterations of a fit at a time
    k, relevant : length of the lists that are judged, and the lowest rating of a relevant item
    """

    def __init__(
        self,
        spark: SparkSession,
        folds: Mapping[str, Fold],
        features: Features,
        *,
        chunk: int,
        k: int,
        relevant: float,
    ) -> None:
        self.spark, self.folds, self.features = spark, folds, features
        self.chunk, self.k, self.relevant = chunk, k, relevant
        sc = spark.sparkContext
        self._folds = {name: sc.broadcast(fold) for name, fold in folds.items()}
        self._features = sc.broadcast(features)
        self._edges: dict[str, Broadcast[pa.Table]] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        held: list[Broadcast[Any]] = [*self._folds.values(), self._features, *self._edges.values()]
        for shared in held:
            shared.destroy()

    def advance(self, fits: Sequence[Fit]) -> list[Chunk]:
        """The next chunk of each; raises what `als.train.train` raises."""
        return self._run(fits, partial(_advance, chunk=self.chunk), "trials")

    def judge(self, fits: Sequence[Fit]) -> list[Judged]:
        """Each fitted to all of its fold's training ratings, and judged."""
        return self._run(fits, partial(_judge, k=self.k, relevant=self.relevant), "judged fits")

    def _run(self, fits: Sequence[Fit], task: Callable[[Material, Fit], Result], name: str) -> list[Result]:
        if not fits:
            return []
        for fit in fits:
            self._share_graph(fit.candidate.graph)
        # The costliest first, so that the last tasks are short ones; a task each, so that cores stay busy.
        order = sorted(range(len(fits)), key=lambda at: -fits[at].candidate.train.rank)
        used = {fit.fold: self._folds[fit.fold] for fit in fits}
        graphs = {key: self._edges[key] for key in {_key(fit.candidate.graph) for fit in fits} if key in self._edges}
        shared = partial(_in_task, task=task, folds=used, features=self._features, graphs=graphs)
        sc = self.spark.sparkContext
        # Rows on their way are megabytes: too large to be part of a task's description.
        states = {at: sc.broadcast(fit.at) for at, fit in enumerate(fits) if fit.at is not None}
        numbered = [(at, fits[at]._replace(at=None)) for at in order]
        try:
            found = sc.parallelize(numbered, len(order)).map(partial(shared, states=states)).setName(name).collect()
        finally:
            for state in states.values():
                state.destroy()
        by_place: dict[int, Any] = dict(found)
        for result in by_place.values():
            if isinstance(result, RecsysError):
                raise result
        return [by_place[at] for at in range(len(fits))]

    def _share_graph(self, spec: GraphSpec | None) -> None:
        if spec is None or _key(spec) in self._edges:
            return
        rows = self.features.rows[ITEMS]
        if spec.table or not len(rows):
            raise ConfigError(
                "a study's graphs are made of item features, by groups: there are none, or a table is set"
            )
        assert spec.top_k is not None
        name = SIDE_NAMES[ITEMS]
        edges = similarity_graph(
            self.spark.createDataFrame(rows.rename_columns([name, *rows.column_names[1:]])),
            name,
            self.features.columns[ITEMS],
            groups=spec.groups,
            top_k=spec.top_k,
            min_similarity=spec.min_similarity,
        )
        self._edges[_key(spec)] = self.spark.sparkContext.broadcast(edges.toArrow().combine_chunks())


def _key(spec: GraphSpec | None) -> str:
    return "" if spec is None else spec.model_dump_json()


def _in_task(
    numbered: tuple[int, Fit],
    task: Callable[[Material, Fit], Any],
    folds: Mapping[str, Broadcast[Fold]],
    features: Broadcast[Features],
    graphs: Mapping[str, Broadcast[pa.Table]],
    states: Mapping[int, Broadcast[Checkpoint]],
) -> tuple[int, Any]:
    at, fit = numbered
    fit = fit._replace(at=states[at].value if at in states else None)
    spec = fit.candidate.graph
    material = Material(folds[fit.fold].value, features.value, graphs[_key(spec)].value if spec else None)
    try:
        return at, task(material, fit)
    except RecsysError as problem:  # as it is: Spark would wrap it in a Java exception, and try again
        return at, problem


def _advance(material: Material, fit: Fit, chunk: int) -> Chunk:
    return advance(material, fit.candidate, fit.at, chunk)


def _judge(material: Material, fit: Fit, k: int, relevant: float) -> Judged:
    return judge(material, fit.candidate, k, relevant)
