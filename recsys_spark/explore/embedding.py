"""Looking into factors: the axes along which films differ most, and what lies at their ends. NumPy and pandas; driver.

Single factors mean nothing: J is the same for all rotations of P, Q, H and W together. The principal axes of the films'
factors do not change with the rotation, but for their signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_spark.errors import DataError
from recsys_spark.schema import GENRES, ITEM, TITLE, YEAR

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.als.model import FittedModel, SideModel


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of some rows' factors.

    rows: int64 (n,), the rows of the side that they were found from.  centre: float64 (k,), their mean.
    directions: float64 (k, k), an axis in each column, the widest first.  share: float64 (k,) of the variance.
    """

    rows: np.ndarray
    centre: np.ndarray
    directions: np.ndarray
    share: np.ndarray

    def coordinates(self, factors: np.ndarray) -> np.ndarray:
        """Positions of factors (m, k) along the axes, float64 (m, k)."""
        return (factors.astype(np.float64) - self.centre) @ self.directions


def principal_axes(side: SideModel, least: float) -> Axes:
    """The axes of the rows that have ``least`` training ratings or more; an axis points to where its longest end is.

    Raises
    ------
    DataError
        The model has no factors, or fewer than two rows have so many ratings.
    """
    rows = np.flatnonzero(side.counts >= least)
    if not side.rank:
        raise DataError("the model has rank 0, biases alone: there are no factors to look into; train with train.rank")
    if len(rows) < 2:
        raise DataError(f"{len(rows)} rows of {len(side)} have {least:g} training ratings or more: ask for fewer")
    factors = side.factors[rows].astype(np.float64)
    centre = factors.mean(0)
    _, lengths, axes = np.linalg.svd(factors - centre, full_matrices=False)
    directions = np.zeros((side.rank, side.rank))
    directions[:, : len(axes)] = axes.T
    along = (factors - centre) @ directions
    directions *= np.where(along.max(0) >= -along.min(0), 1.0, -1.0)
    variance = np.zeros(side.rank)
    variance[: len(lengths)] = lengths**2
    return Axes(rows, centre, directions, variance / variance.sum())


def film_map(model: FittedModel, movies: DataFrame, axes: Axes, width: int = 4) -> pd.DataFrame:
    """The axes' films: (item, title, year, genres, ratings, bias, axis 1 … axis ``width``), the most rated first."""
    item = model.item
    along = axes.coordinates(item.factors[axes.rows])[:, :width]
    found = pd.DataFrame(
        {
            ITEM: item.ids.take(pa.array(axes.rows)).to_pandas(),
            "ratings": item.counts[axes.rows],
            "bias": item.biases[axes.rows],
            **{axis_name(a): along[:, a] for a in range(along.shape[1])},
        }
    )
    known = movies.select(ITEM, TITLE, YEAR, GENRES).toPandas()
    named = found.merge(known, on=ITEM, how="left").sort_values(["ratings", ITEM], ascending=[False, True])
    columns = [ITEM, TITLE, YEAR, GENRES]
    return named[[*columns, *(c for c in found.columns if c != ITEM)]].reset_index(drop=True)


def axis_name(at: int) -> str:
    """What the axis in column ``at`` is called in tables: from 1."""
    return f"axis {at + 1}"


def extreme_films(mapped: pd.DataFrame, axis: str, n: int) -> pd.DataFrame:
    """Titles at both ends of an axis, the outermost first: (low, high)."""
    ordered = mapped.sort_values(axis)[TITLE].tolist()
    return pd.DataFrame({f"{axis}: low": ordered[:n], f"{axis}: high": ordered[::-1][:n]})


def feature_directions(side: SideModel, axes: Axes, width: int = 4) -> pd.DataFrame:
    """Where features point: a row a feature column (group, name), W along the axes (axis 1 …), and w as ``bias``.

    Raises
    ------
    DataError
        The model has no features on this side.
    """
    if not side.columns:
        raise DataError("the model has no features on this side: there is no projection to show; run jobs/features.py")
    along = (side.projection @ axes.directions)[:, :width]
    return pd.DataFrame(
        {
            "group": [column.group for column in side.columns],
            "name": [column.name.partition("=")[2] or column.name for column in side.columns],
            **{axis_name(a): along[:, a] for a in range(along.shape[1])},
            "bias": side.projection_bias,
        }
    )


def leading_genre(genres: pd.Series, shown: list[str]) -> pd.Series:
    """The genre of each film's that fewest films have, of those ``shown``; "other" where it has none of them."""
    counts = genres.explode().value_counts().to_dict()
    return genres.map(lambda own: min((g for g in _listed(own) if g in shown), key=counts.__getitem__, default="other"))


def common_genres(genres: pd.Series, n: int) -> list[str]:
    """The ``n`` genres that most films have, the most common first."""
    return [str(name) for name in genres.explode().value_counts().index[:n]]


def _listed(genres: object) -> list[str]:
    return [] if genres is None or isinstance(genres, float) else list(genres)  # type: ignore[call-overload]
