"""The graph of one side: which items (or users) should have similar factors, and how much. Driver.

A graph is a DataFrame of edges (i, j, s): s > 0, i ≠ j, both directions present with one s. It is the S of the model's
term α Tr(VᵀLV), L = D - S, from the features of the side or from any table of similarities.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recsys_spark.errors import ConfigError, DataError
from recsys_spark.features.columns import FeatureColumn, to_csr
from recsys_spark.features.neighbours import Sparse, Vectors, chosen_columns, chunks, distinct_vectors, nearest
from recsys_spark.schema import INDICES, VALUES

log = logging.getLogger(__name__)

FROM, TO, SIMILARITY = "i", "j", "s"

_SHOWN = 5
_FLOAT_MAX = float(np.finfo(np.float32).max)
_TASKS_PER_CORE = 4


class FeatureVectors(NamedTuple):
    """What a task needs: all distinct vectors, and the ids of the rows that have them."""

    vectors: Vectors
    ids: pa.Array


class Shared(Protocol):
    """What a Spark broadcast of the vectors is to a task."""

    @property
    def value(self) -> FeatureVectors:
        """The vectors."""


def similarity_graph(
    rows: DataFrame,
    key: str,
    columns: Sequence[FeatureColumn],
    *,
    groups: Sequence[str] | None = None,
    top_k: int = 50,
    min_similarity: float = 0.0,
) -> DataFrame:
    """Connect each id with its nearest ones by the cosine of their features.

    An id's neighbours are the `top_k` others of greatest similarity; of equally similar ones the ids above it come
    first, in ascending order, then those from the lowest on. Two ids are connected if one is a neighbour of the other,
    so an id may have more than `top_k` edges. Ids without features have none. Similarities that are not positive or
    below `min_similarity` are dropped.

    Parameters
    ----------
    rows : columns `key`, indices, values, as :func:`recsys_spark.features.encode.encode` gives them; collected
    columns : what the indices stand for
    groups : names of the feature groups to compare by; None: all
    top_k : neighbours of an id, at least 1
    min_similarity : from 0 to 1

    Returns
    -------
    DataFrame
        i, j (the type of `key`), s float in (0, 1]; every edge in both directions. Computed when used; its broadcast
        lives as long as it does. The same for every partitioning of `rows`.

    Raises
    ------
    ConfigError
        An unknown group, or numbers out of range.
    DataError
        Keys that are null or not unique.
    """
    chosen = _chosen(columns, groups)
    _check_limits(top_k, min_similarity)
    table = rows.select(key, INDICES, VALUES).toArrow()
    keys = table[key].combine_chunks()
    if keys.null_count:
        raise DataError(f"graph: {keys.null_count} feature rows have no {key}")
    ids = keys.take(pc.sort_indices(keys))
    x = Sparse(*to_csr(table, key, ids), len(columns))
    vectors = distinct_vectors(chosen_columns(x, chosen))
    log.info("%s graph: %d ids with %d distinct feature vectors", key, len(vectors.members), vectors.number)
    spark = rows.sparkSession
    shared = spark.sparkContext.broadcast(FeatureVectors(vectors, ids))
    work = chunks(vectors)
    tasks = min(max(1, len(work)), _TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
    ranges = spark.createDataFrame(work, "low bigint, high bigint").repartition(tasks)
    kind = rows.schema[key].dataType
    step = partial(edge_batches, shared, top_k, min_similarity)
    return _both_ways(ranges.mapInArrow(step, edge_schema(kind)))


def table_graph(
    table: DataFrame, key_type: T.DataType, *, top_k: int | None = None, min_similarity: float = 0.0
) -> DataFrame:
    """Make a graph of a given table of similarities (i, j, s).

    A pair given more than once, in either direction, has the largest of its s. Pairs of an id with itself are dropped,
    which is logged; so are an s of 0 and those below `min_similarity`. `top_k` is then as in :func:`similarity_graph`.

    Parameters
    ----------
    table : columns i, j (ids), s (a number); others are ignored; read twice
    key_type : the side's type of ids, bigint or string

    Returns
    -------
    DataFrame
        As :func:`similarity_graph`, s of any size; computed when used.

    Raises
    ------
    ConfigError
        Numbers out of range.
    DataError
        A column missing or of another type, a null, or an s that is negative or not a finite float: the column and the
        first such rows are named.
    """
    _check_limits(top_k, min_similarity)
    _check_table(table, key_type)
    ids = [F.col(name).cast(key_type) for name in (FROM, TO)]
    s = F.col(SIMILARITY).cast("float")
    kept = table.where((ids[0] != ids[1]) & (s > 0) & (s >= F.lit(min_similarity).cast("float")))
    edges = _both_ways(_ordered(kept.select(ids[0].alias(FROM), ids[1].alias(TO), s.alias(SIMILARITY))))
    if top_k is None:
        return edges
    ties = (F.col(TO) < F.col(FROM), F.col(TO))  # false before true
    place = F.row_number().over(Window.partitionBy(FROM).orderBy(F.col(SIMILARITY).desc(), *ties))
    return _both_ways(_ordered(edges.withColumn("place", place).where(F.col("place") <= top_k)))


def edge_batches(
    shared: Shared, top_k: int, min_similarity: float, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """From ranges (low, high) of vectors to the edges of their rows, with i < j, for ``mapInArrow``; executor.

    An edge that is among the nearest of both its ends comes twice.
    """
    vectors, ids = shared.value
    for batch in batches:
        for low, high in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            edges = nearest(vectors, low, high, top_k, min_similarity)
            i, j = np.minimum(edges.rows, edges.neighbours), np.maximum(edges.rows, edges.neighbours)
            arrays = [ids.take(pa.array(i)), ids.take(pa.array(j)), pa.array(edges.similarity)]
            yield pa.RecordBatch.from_arrays(arrays, [FROM, TO, SIMILARITY])


def edge_schema(key_type: T.DataType) -> T.StructType:
    """Columns of a graph."""
    return T.StructType(
        [T.StructField(FROM, key_type), T.StructField(TO, key_type), T.StructField(SIMILARITY, T.FloatType())]
    )


def _ordered(edges: DataFrame) -> DataFrame:
    """Edges with i < j, so that both directions of one are equal."""
    return edges.select(F.least(FROM, TO).alias(FROM), F.greatest(FROM, TO).alias(TO), SIMILARITY)


def _both_ways(edges: DataFrame) -> DataFrame:
    """Each of the edges i < j once, with its largest s, in both directions; the shuffle sees one of them."""
    largest = edges.groupBy(FROM, TO).agg(F.max(SIMILARITY).alias(SIMILARITY))
    back = F.struct(F.col(TO).alias(FROM), F.col(FROM).alias(TO), SIMILARITY)
    return largest.select(F.inline(F.array(F.struct(FROM, TO, SIMILARITY), back)))


def _chosen(columns: Sequence[FeatureColumn], groups: Sequence[str] | None) -> np.ndarray:
    """Which columns belong to the groups: bool (d,)."""
    known = sorted({column.group for column in columns})
    unknown = sorted(set(groups or ()) - set(known))
    if unknown or (groups is not None and not groups):
        raise ConfigError(
            f"graph: no feature group {', '.join(unknown) or '(none given)'}; there is: {', '.join(known)}"
        )
    if not columns:
        raise ConfigError("graph: there are no features to compare by; give a table of similarities instead")
    return np.array([groups is None or column.group in groups for column in columns])


def _check_limits(top_k: int | None, min_similarity: float) -> None:
    problems = []
    if top_k is not None and top_k < 1:
        problems.append(f"graph: top_k must be at least 1, found {top_k}")
    if not 0 <= min_similarity < np.inf:
        problems.append(f"graph: min_similarity must be at least 0, found {min_similarity}")
    if problems:
        raise ConfigError("\n".join(problems))


def _check_table(table: DataFrame, key_type: T.DataType) -> None:
    """Refuse a table that is no graph; one aggregation, and one more to name offenders."""
    missing = [name for name in (FROM, TO, SIMILARITY) if name not in table.columns]
    if missing:
        raise DataError(f"graph: the table has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    found = {name: table.schema[name].dataType for name in (FROM, TO, SIMILARITY)}
    for name in (FROM, TO):
        both_whole = isinstance(found[name], T.IntegralType) and isinstance(key_type, T.IntegralType)
        if found[name] != key_type and not both_whole:
            raise DataError(
                f"graph: column {name} is {found[name].simpleString()}, and ids are {key_type.simpleString()}; "
                "store it as the same type"
            )
    if not isinstance(found[SIMILARITY], T.NumericType):
        raise DataError(f"graph: column {SIMILARITY} must be a number, found {found[SIMILARITY].simpleString()}")
    s = F.col(SIMILARITY).cast("double")
    faults: list[tuple[str, str, Column]] = [
        (FROM, "null", F.col(FROM).isNull()),
        (TO, "null", F.col(TO).isNull()),
        (SIMILARITY, "null", s.isNull()),
        (SIMILARITY, "NaN, infinite or beyond float32", F.isnan(s) | (F.abs(s) > _FLOAT_MAX)),
        (SIMILARITY, "negative", s < 0),
    ]
    counts = [F.count_if(bad).alias(f"n{at}") for at, (*_, bad) in enumerate(faults)]
    row = table.agg(*counts, F.count_if(F.col(FROM) == F.col(TO)).alias("loops")).first()
    assert row is not None  # a global aggregate always has one row
    for at, (name, what, bad) in enumerate(faults):
        if row[f"n{at}"]:
            first = table.where(bad).select(FROM, TO, SIMILARITY).orderBy(FROM, TO).limit(_SHOWN).collect()
            shown = ", ".join(f"({r[FROM]}, {r[TO]}, {r[SIMILARITY]})" for r in first)
            raise DataError(f"graph: column {name} is {what} in {row[f'n{at}']} rows, first (i, j, s): {shown}")
    if row["loops"]:
        log.info("graph: %d pairs of an id with itself are left out", row["loops"])
