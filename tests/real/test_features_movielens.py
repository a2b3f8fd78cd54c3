"""Genres and years of the real films, against counts taken with pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_spark.config import FeatureSettings
from recsys_spark.features.columns import to_csr
from recsys_spark.features.encode import encode

pytestmark = pytest.mark.real


def test_genres_and_years_of_ml_latest_small(spark, real_data: Path):
    films = pd.read_csv(real_data / "ml-latest-small" / "movies.csv")
    films["year"] = films["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype("Int64")
    films["genres"] = films["genres"].map(lambda g: [] if g == "(no genres listed)" else g.split("|"))
    rows = [(int(f.movieId), None if f.year is pd.NA else int(f.year), f.genres) for f in films.itertuples()]
    df = spark.createDataFrame(rows, "item bigint, year int, genres array<string>")
    encoded, columns = encode(df, "item", FeatureSettings().item)

    indptr, indices, values = to_csr(encoded.toArrow(), "item", films["movieId"].tolist())
    names = [column.name for column in columns]
    genres = films["genres"].explode().value_counts()
    bins = (films["year"] // 5 * 5).value_counts()
    expected = {f"genre={name}": n for name, n in genres.items()}
    expected |= {f"year={low}-{low + 4}": n for low, n in bins.items()}
    assert dict(zip(names, np.bincount(indices).tolist(), strict=True)) == expected
    assert len(genres) == 19

    of_row = np.repeat(np.arange(len(films)), np.diff(indptr))
    sums = np.bincount(of_row, values, minlength=len(films))
    wanted = (films["genres"].map(len) > 0).astype(int) + films["year"].notna().astype(int)
    assert sums == pytest.approx(wanted.to_numpy(), abs=1e-5)
