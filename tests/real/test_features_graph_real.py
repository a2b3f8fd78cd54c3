"""The graph of the real films by genre and year: exact for a sample of them; -s shows the seconds it took."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from recsys_spark.config import FeatureSettings
from recsys_spark.features.columns import to_csr
from recsys_spark.features.encode import encode
from recsys_spark.features.graph import similarity_graph

pytestmark = pytest.mark.real


def test_the_films_of_ml_32m(spark, real_data: Path):
    path = real_data / "ml-32m" / "movies.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    films = pd.read_csv(path)
    films["year"] = films["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype("Int64")
    films["genres"] = films["genres"].map(lambda g: [] if g == "(no genres listed)" else g.split("|"))
    rows = [(int(f.movieId), None if f.year is pd.NA else int(f.year), f.genres) for f in films.itertuples()]
    df = spark.createDataFrame(rows, "item bigint, year int, genres array<string>")
    encoded, columns = encode(df, "item", FeatureSettings().item)
    features = encoded.persist()
    features.count()

    began = time.perf_counter()
    graph = similarity_graph(features, "item", columns, top_k=50, min_similarity=0.1).toArrow()
    print(f"{len(films)} films, {len(graph)} edges, {time.perf_counter() - began:.1f} s")
    degrees = graph.group_by("i").aggregate([([], "count_all")])["count_all"].to_numpy()
    assert degrees.max() < 1000  # no film is tied to all others of a common genre and year

    ids = np.sort(films["movieId"].to_numpy())
    indptr, indices, values = to_csr(features.toArrow(), "item", ids.tolist())
    features.unpersist()
    x = np.zeros((len(ids), len(columns)))
    x[np.repeat(np.arange(len(ids)), np.diff(indptr)), indices] = values
    norms = np.linalg.norm(x, axis=1)
    for at in np.random.default_rng(0).choice(len(ids), 20, replace=False):
        mine = graph.filter(pc.equal(graph["i"], int(ids[at])))
        found = dict(zip(mine["j"].to_pylist(), mine["s"].to_pylist(), strict=True))
        if norms[at] == 0:
            assert not found
            continue
        s = (x @ x[at] / np.maximum(norms * norms[at], 1e-30)).round(6)
        s[at] = -1
        best = np.lexsort((ids, ids < ids[at], -s))[:50]
        expected = {int(ids[j]): s[j] for j in best if s[j] >= 0.1}
        assert expected.keys() <= found.keys()
        assert all(found[j] == pytest.approx(value, abs=2e-6) for j, value in expected.items())
        assert len(found) >= len(expected)
