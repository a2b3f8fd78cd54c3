"""`als.similar` over a DataFrame of ids: in tasks, the model broadcast. Driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_spark.als.foldin import side_of
from recsys_spark.als.model import FittedModel
from recsys_spark.als.similar import Neighbours, check_metric
from recsys_spark.blocks.layout import SIDE_NAMES
from recsys_spark.errors import ConfigError
from recsys_spark.frames import check_classic, id_ddl, model_id_column, quoted

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import DataFrame


def similar_frame(
    shared: Broadcast[FittedModel], fitted: FittedModel, side: int, ids: DataFrame, column: str, n: int, metric: str
) -> DataFrame:
    """(column, similar: array of (column, similarity or distance)), nearest first; lazy.

    An id given twice is answered once, one that the model does not know not at all.

    Raises
    ------
    ConfigError, DataError
        n < 1, and as `check_metric`.
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, found {n}")
    check_classic(ids)
    check_metric(side_of(fitted, side), metric)
    kind = side_of(fitted, side).ids.type
    wanted = ids.select(model_id_column(ids, column, SIDE_NAMES[side], kind).alias("id")).dropna().distinct()
    name = id_ddl(kind)
    value = "distance" if metric == "euclidean" else "similarity"
    key = quoted(column)
    ddl = f"{key} {name}, similar array<struct<{key}: {name}, {value}: float>>"
    return wanted.mapInArrow(partial(_similar, shared=shared, side=side, column=column, n=n, metric=metric), ddl)


def _similar(
    batches: Iterable[pa.RecordBatch], shared: Broadcast[FittedModel], side: int, column: str, n: int, metric: str
) -> Iterator[pa.RecordBatch]:
    known, neighbours = side_of(shared.value, side), None
    value = "distance" if metric == "euclidean" else "similarity"
    for batch in batches:
        rows = known.index(batch.column(0))
        rows = rows[rows >= 0]
        neighbours = neighbours or Neighbours(known, metric)
        found, values = neighbours.of(rows, n)
        filled = found >= 0
        offsets = pa.array([0, *filled.sum(1).cumsum()], pa.int32())
        parts = [known.ids.take(pa.array(found[filled])), pa.array(values[filled])]
        lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(parts, [column, value]))
        yield pa.RecordBatch.from_arrays([known.ids.take(pa.array(rows)), lists], [column, "similar"])
