"""All notebooks, executed in one kernel on a tiny lake of their own; what they show is what the lake holds.

The notebooks stand one after the other in a single kernel, emptied between them, so that they share one Spark session.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from pyspark.sql import SparkSession

from generated import TINY
from recsys_spark import experiment, lake
from recsys_spark.config import Settings, load_settings, step_root
from recsys_spark.generate.preset import PRESETS

ROOT = Path(__file__).resolve().parents[2]

# What each notebook is asked when it has run: expressions, whose values JSON can hold.
PROBES = {
    "data": {
        "ratings": "int(by_rating['count'].sum())",
        "months": "int(months['ratings'].sum())",
        "new_users": "int(months['new_users'].sum())",
        "users": "int(tails['users']['ids'].max())",
        "films": "int(tails['films']['ids'].max())",
        "density": "results.facts['density']",
        "listed": "int(by_year['films'].sum()) + movies.where('year is null').count()",
    },
    "training": {
        "objective": "history['objective'].to_pylist()",
        "sums": "history.to_pandas()[terms].sum(axis=1).tolist()",
        "best": "summary.bestIteration",
        "rmse": "scores['rmse'].to_dict()",
        "mine": "runs.loc[runs['run_id'] == results.run_id, 'metrics.rmse'].tolist()",
        "rows": "[int(table['n'].sum()) for table in calibrated.values()]",
    },
    "embedding": {
        "films": "len(films)",
        "everything": "len(everything)",
        "least": "float(films['ratings'].min())",
        "share": "axes.share.tolist()",
        "centre": "float(films[names].mean().abs().max())",
        "features": "directions['name'].tolist()",
    },
    "recommendations": {
        "overlap": "shared.to_dict()",
        "liked": "liked['title'].tolist()",
        "own": "[title in set(found.loc[found['liked'] == title, 'title']) for title in liked['title']]",
        "score": "float(first['score'])",
        "sum": "float(reasons['contribution'].sum())",
        "rated": "int((reasons['term'] == 'rating').sum())",
        "near": "near['title'].tolist()",
        "crowded": "crowded['lists'].tolist()",
    },
}


def settings_for(folder: Path) -> Settings:
    quick = [
        "train.rank=4",
        "train.max_iter=4",
        "evaluate.baselines=[biases, pyspark_als]",
        "evaluate.pyspark={rank: 2, iterations: 2}",
        "evaluate.ranking.k=0",
    ]
    fixed = {"dataset": "tiny", "workdir": f"file:{folder}/lake", "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    return load_settings([], quick, fixed)


@pytest.fixture(scope="module")
def settings(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Those of a lake in which the pipeline has run."""
    made = settings_for(tmp_path_factory.mktemp("notebooks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        experiment.pipeline(spark, made, argparse.Namespace())
    return made


@pytest.fixture(scope="module")
def answers(settings: Settings) -> dict[str, Any]:
    """What the notebooks say to PROBES."""
    cells = []
    for name, asked_for in PROBES.items():
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        values = ", ".join(f"{key!r}: {expression}" for key, expression in asked_for.items())
        asked = nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{values}}}))", metadata={"probe": name})
        cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells, asked]
    whole = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    small = "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2"
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYSPARK_SUBMIT_ARGS": f"{small} --conf spark.driver.bindAddress=127.0.0.1 pyspark-shell",
        "RECSYS_SPARK_LAKE": settings.workdir,
        "RECSYS_SPARK_DATASET": settings.dataset,
        "RECSYS_SPARK_LEAST": "5",
        "MLFLOW_TRACKING_URI": str(settings.tracking.uri),
    }
    client = NotebookClient(whole, timeout=300, resources={"metadata": {"path": str(ROOT / "notebooks")}})
    done = client.execute(env=env)
    asked = [cell for cell in done.cells if "probe" in cell.metadata]
    return {cell.metadata["probe"]: json.loads(cell.outputs[-1]["text"]) for cell in asked}


def manifest(spark: SparkSession, settings: Settings, step: str) -> lake.Manifest:
    return lake.current(spark, step_root(settings, step), step).manifest


def test_every_notebook_is_executed() -> None:
    assert set(PROBES) == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_the_data_notebook_shows_all_that_was_ingested(
    answers: dict[str, Any], spark: SparkSession, settings: Settings
) -> None:
    ingested, told = manifest(spark, settings, "ingest"), answers["data"]
    rows = {name: table.rows for name, table in ingested.tables.items()}
    assert told["ratings"] == told["months"] == rows["ratings"] == TINY.ratings
    assert told["users"] == told["new_users"] == ingested.extra["metrics"]["users"]
    assert told["films"] == ingested.extra["metrics"]["items"]
    assert told["listed"] == rows["movies"]
    assert told["density"] == pytest.approx(rows["ratings"] / (told["users"] * told["films"]))


def test_the_training_notebook_shows_the_objective_and_the_evaluation(
    answers: dict[str, Any], spark: SparkSession, settings: Settings
) -> None:
    told, evaluated = answers["training"], manifest(spark, settings, "evaluate")
    metrics = evaluated.extra["metrics"]
    trained = manifest(spark, settings, "train").extra["metrics"]
    assert len(told["objective"]) == trained["iterations"]
    assert told["objective"] == sorted(told["objective"], reverse=True)
    assert told["objective"][told["best"] - 1] == trained["objective"]
    assert told["sums"] == pytest.approx(told["objective"])
    expected = {"this model": "rmse", "biases only": "rmse_biases", "pyspark.ml ALS": "rmse_pyspark_als"}
    assert told["rmse"] == {name: metrics[key] for name, key in expected.items()}
    assert told["mine"] == [pytest.approx(metrics["rmse"])]
    assert told["rows"] == [evaluated.tables["predictions"].rows] * 3


def test_the_embedding_notebook_shows_the_models_films(
    answers: dict[str, Any], spark: SparkSession, settings: Settings
) -> None:
    told = answers["embedding"]
    assert 0 < told["films"] < told["everything"] <= manifest(spark, settings, "blocks").extra["metrics"]["items"]
    assert told["least"] >= 5
    assert told["share"] == sorted(told["share"], reverse=True)
    assert sum(told["share"]) == pytest.approx(1)
    assert told["centre"] == pytest.approx(0, abs=1e-6)
    columns = lake.read_table(spark, step_root(settings, "features"), "item_columns")
    assert told["features"] == [row["name"].partition("=")[2] for row in columns.orderBy("index").collect()]


def test_the_recommendations_notebook_tells_newcomers_apart(
    answers: dict[str, Any], spark: SparkSession, settings: Settings
) -> None:
    told = answers["recommendations"]
    assert told["overlap"]["0.0"] < told["overlap"]["1.0"], "taste alone tells them apart"
    assert not any(told["own"]), "nobody is recommended the film that they know"
    assert told["sum"] == pytest.approx(told["score"], abs=1e-4)
    assert told["rated"] > 0
    assert told["crowded"] == sorted(told["crowded"], reverse=True)
    assert len(told["near"]) == 5 * len(told["liked"])
