"""Which items may be recommended: by year, genre and lists; driver."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_spark import lake
from recsys_spark.als.model import FittedModel
from recsys_spark.blocks.layout import ITEMS
from recsys_spark.config import CandidateSettings
from recsys_spark.errors import DataError
from recsys_spark.schema import GENRES, ITEM, YEAR
from recsys_spark.score.topn import candidate_rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def find_candidates(
    spark: SparkSession, model: FittedModel, ingested: str, chosen: CandidateSettings, run_date: date
) -> NDArray[np.int64] | None:
    """Row numbers of the model's items that may be recommended, ascending; None where all may.

    Parameters
    ----------
    ingested : where the table `movies` is: item, year, genres. An item that is not in it has no year and no genre

    Raises
    ------
    NotPublishedError
        There is no such table, and a filter needs it.
    DataError
        A genre that no film has, a list without the column item, or nothing left to recommend.
    """
    from pyspark.sql import functions as F

    lists = {name: listed(spark, given) for name, given in (("allow", chosen.allow), ("block", chosen.block))}
    by_film = chosen.released_by is not None or chosen.genres or chosen.not_genres
    if not by_film and all(found is None for found in lists.values()):
        return None
    rows = np.arange(len(model.item), dtype=np.int64)
    if by_film:
        movies = lake.read_table(spark, ingested, "movies").select(ITEM, YEAR, GENRES)
        items = spark.createDataFrame(pa.table({ITEM: model.item.ids})).join(F.broadcast(movies), ITEM, "left")
        for condition in _conditions(movies, chosen, run_date):
            items = items.where(condition)
        rows = candidate_rows(model, ITEMS, items, ITEM)
    if lists["allow"] is not None:
        rows = np.intersect1d(rows, candidate_rows(model, ITEMS, lists["allow"], ITEM))
    if lists["block"] is not None:
        rows = np.setdiff1d(rows, candidate_rows(model, ITEMS, lists["block"], ITEM))
    if not len(rows):
        raise DataError(
            f"no item of the model's {len(model.item)} passes the candidate filters "
            f"{chosen.model_dump(mode='json', exclude_defaults=True)}: loosen score.candidates"
        )
    return rows


def listed(spark: SparkSession, given: str | Sequence[int] | None) -> DataFrame | None:
    """A list of ids, or a Parquet table of them, as a DataFrame with the column item."""
    if given is None:
        return None
    if not isinstance(given, str):
        return spark.createDataFrame(pa.table({ITEM: pa.array(given, pa.int64())}))
    table = spark.read.parquet(given)
    if ITEM not in table.columns:
        raise DataError(f"the list of items {given} has no column {ITEM!r}, but {', '.join(table.columns)}")
    return table


def _conditions(movies: DataFrame, chosen: CandidateSettings, run_date: date) -> list[Column]:
    from pyspark.sql import functions as F

    found: list[Column] = []
    last = run_date if chosen.released_by == "run_date" else chosen.released_by
    if isinstance(last, date):
        found.append(F.coalesce(F.col(YEAR) <= last.year, F.lit(True)))
    if chosen.genres or chosen.not_genres:
        _check_genres(movies, (*chosen.genres, *chosen.not_genres))
    for wanted, genres in ((True, chosen.genres), (False, chosen.not_genres)):
        if genres:
            has = F.coalesce(F.arrays_overlap(GENRES, F.array(*map(F.lit, genres))), F.lit(False))
            found.append(has if wanted else ~has)
    return found


def _check_genres(movies: DataFrame, wanted: Sequence[str]) -> None:
    from pyspark.sql import functions as F

    known = {row[0] for row in movies.select(F.explode(GENRES)).distinct().collect()}
    unknown = [genre for genre in wanted if genre not in known]
    if unknown:
        raise DataError(f"score.candidates names genres that no film has: {unknown}; there are {sorted(known)}")
