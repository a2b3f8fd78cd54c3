"""Top-N of one side for rows of the other, in Spark tasks; the one implementation behind the model and the job.

    all rows:      row numbers ──────────────────────────────mapInArrow──▶ (id, recommendations)
    rows by id:    ids ──────────────┐                                      model broadcast
                                     ├─ shuffled by id ──────mapInArrow──▶ (id, recommendations)
                   pairs seen ───────┘

What a task does is in `finder`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import SIDE_NAMES, USERS
from recsys_spark.errors import DataError
from recsys_spark.frames import id_ddl, model_id_column
from recsys_spark.score.finder import ID, OTHER, RATING, RECOMMENDATIONS, Ranking, for_ids, for_profiles, for_rows

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql import types as T

TASKS_PER_CORE = 2  # rows differ in work: a slow task should not leave the other cores idle for long


def recommend_rows(
    spark: SparkSession, shared: Broadcast[FittedModel], side: int, ranking: Ranking, names: tuple[str, str]
) -> DataFrame:
    """Recommendations for every row of a side: (id, recommendations), under `names` of both sides; lazy, driver."""
    rows = len((shared.value.user, shared.value.item)[side])
    tasks = TASKS_PER_CORE * spark.sparkContext.defaultParallelism
    numbers = spark.range(0, rows, 1, min(tasks, max(rows, 1)))
    found = numbers.mapInArrow(partial(for_rows, shared, side, ranking), _schema(shared.value, side))
    return _renamed(found, shared.value, side, names)


def recommend_ids(
    shared: Broadcast[FittedModel],
    side: int,
    ranking: Ranking,
    names: tuple[str, str],
    ids: DataFrame | None,
    seen: DataFrame | None,
    *,
    fallback: bool,
) -> DataFrame:
    """Recommendations for the rows with these ids, each once; lazy, driver.

    Parameters
    ----------
    ids : its column `names[side]`; others, nulls and repeats are ignored. None: all rows of the side, and with a
        `fallback` all in `seen`
    seen : columns of both names; a candidate that an id is paired with is left out for it
    fallback : serve ids that the model does not know as well

    Raises
    ------
    DataError
        A column is missing, or of another type than the model's ids.
    """
    from pyspark.sql import functions as F

    model, other = shared.value, 1 - side
    kind, other_kind = (id_ddl((model.user, model.item)[s].ids.type) for s in (side, other))
    nothing = F.lit(None).cast(other_kind).alias(OTHER)
    spark = (ids if ids is not None else seen).sparkSession  # type: ignore[union-attr]
    if ids is None:
        wanted = spark.createDataFrame(pa.table({ID: (model.user, model.item)[side].ids}))
    else:
        wanted = ids.select(_ids(ids, names, model, side).alias(ID)).where(F.col(ID).isNotNull())
    pairs = None
    if seen is not None:
        mine, others = (_ids(seen, names, model, s).alias(name) for s, name in ((side, ID), (other, OTHER)))
        pairs = seen.select(mine, others).where(F.col(ID).isNotNull() & F.col(OTHER).isNotNull())
        if ids is not None:  # few of the pairs may matter
            pairs = pairs.join(wanted.distinct(), ID, "left_semi")
        elif fallback:
            wanted = wanted.union(pairs.select(ID).distinct())
    rows = wanted.select(F.col(ID).cast(kind), nothing)
    rows = rows if pairs is None else rows.union(pairs)
    # By number, so that adaptive execution does not coalesce a few megabytes of ids into one long task.
    spread = rows.repartition(TASKS_PER_CORE * spark.sparkContext.defaultParallelism, ID)
    found = spread.mapInArrow(partial(for_ids, shared, side, ranking, fallback), _schema(model, side))
    return _renamed(found, model, side, names)


def recommend_profiles(
    shared: Broadcast[FittedModel], side: int, ranking: Ranking, names: tuple[str, str], profiles: DataFrame
) -> DataFrame:
    """Recommendations for rows of features (any key first, indices, values), without ids; lazy, driver."""
    model = shared.value
    if not len((model.user, model.item)[side].columns):
        raise DataError(
            f"the model was fitted without {SIDE_NAMES[side]} features: there is no profile to predict from"
        )
    missing = [name for name in ("indices", "values") if name not in profiles.columns]
    if missing:
        raise DataError(f"no column {', '.join(missing)} in the profiles; they have {', '.join(profiles.columns)}")
    key = profiles.schema[0]
    kept = profiles.select(key.name, "indices", "values")
    found = kept.mapInArrow(partial(for_profiles, shared, side, ranking), _schema(model, side, key.dataType))
    return _renamed(found, model, side, (key.name, names[1]) if side == USERS else (names[0], key.name))


def candidate_rows(model: FittedModel, side: int, frame: DataFrame, name: str) -> NDArray[np.int64]:
    """Row numbers of the ids in a column, ascending, unknown ones and nulls left out; collects the distinct ids."""
    ids = model_id_column(frame, name, SIDE_NAMES[side], (model.user, model.item)[side].ids.type)
    found = frame.select(ids.alias(ID)).distinct().toArrow()
    rows = np.unique((model.user, model.item)[side].index(found.column(0)))
    return rows[rows >= 0]


def _ids(frame: DataFrame, names: tuple[str, str], model: FittedModel, side: int) -> Column:
    return model_id_column(frame, names[side], SIDE_NAMES[side], (model.user, model.item)[side].ids.type)


def _schema(model: FittedModel, side: int, key: T.DataType | None = None) -> T.StructType:
    from pyspark.sql import types as T

    served, others = (model.user, model.item) if side == USERS else (model.item, model.user)
    kinds = [T.DataType.fromDDL(id_ddl(side.ids.type)) for side in (served, others)]
    pair = T.StructType([T.StructField(OTHER, kinds[1]), T.StructField(RATING, T.FloatType())])
    return T.StructType([T.StructField(ID, key or kinds[0]), T.StructField(RECOMMENDATIONS, T.ArrayType(pair))])


def _renamed(found: DataFrame, model: FittedModel, side: int, names: tuple[str, str]) -> DataFrame:
    """The columns as pyspark.ml.ALSModel names them."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    kind = _schema(model, side).fields[1].dataType.elementType.fields[0].dataType  # type: ignore[attr-defined]
    pair = T.StructType([T.StructField(names[1 - side], kind), T.StructField(RATING, T.FloatType())])
    lists = F.col(RECOMMENDATIONS).cast(T.ArrayType(pair)).alias(RECOMMENDATIONS)
    return found.select(F.col(ID).alias(names[side]), lists)
