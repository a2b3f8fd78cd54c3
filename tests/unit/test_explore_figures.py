"""Figures of the notebooks: what is drawn is what the tables hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from model_factory import random_history
from recsys_spark.evaluate.figures import save_figures
from recsys_spark.explore import data_figures, model_figures

FILMS = pd.DataFrame(
    {
        "title": ["Seven Samurai (1954)", "A Film with a Title of Some Length (1994)", None],
        "year": [1954.0, 1994.0, np.nan],
        "genres": [["Drama"], ["Comedy", "Drama"], None],
        "ratings": [90.0, 4.0, 1.0],
        "bias": [0.6, -0.2, 0.0],
        "axis 1": [1.0, -0.5, 0.0],
        "axis 2": [0.2, 0.4, -0.6],
    }
)
DIRECTIONS = pd.DataFrame(
    {
        "group": ["genre", "genre", "year"],
        "name": ["War", "Drama", "1990-1994"],
        "axis 1": [0.5, -0.5, 0.1],
        "bias": [0.1, 0.0, -0.3],
    }
)
BINS = pd.DataFrame(
    {
        "predictor": ["model", "model", "biases", "biases"],
        "bin": ["0", "1+", "0", "1+"],
        "low": [0, 1, 0, 1],
        "n": [0, 8, 0, 8],
        "rmse": [np.nan, 0.8, np.nan, 0.9],
    }
)
GENRES = pd.DataFrame({"genre": ["War", "Drama"], "films": [2, 3], "ratings": [5, 40], "mean": [3.1, 3.6]})
YEARS = pd.DataFrame({"year": [1954, 1994], "films": [1, 2], "ratings": [0, 30], "mean": [np.nan, 3.5]})
MONTHS = pd.DataFrame(
    {"month": pd.to_datetime(["1996-03-01", "1996-05-01"]), "ratings": [5, 9], "users": [2, 3], "new_users": [2, 1]}
)
STEPS = {
    "prediction": pd.DataFrame({"prediction": [3.0, 4.0], "rating": [3.1, 3.9], "n": [50, 5]}),
    "pyspark_als": pd.DataFrame({"prediction": [2.0], "rating": [3.0], "n": [55]}),
}


def test_all_of_them_can_be_written(tmp_path: Path):
    history = random_history()
    drawn = {
        "rating_counts": data_figures.rating_counts([0.5, 1.0, 5.0], [1, 2, 3]),
        "tails": data_figures.tails({"users": pd.DataFrame({"n": [1, 20], "ids": [30, 4]})}),
        "density": data_figures.density_grid(np.array([[0.5, 0.1], [0.2, 0.0]])),
        "growth": data_figures.growth(MONTHS),
        "genres": data_figures.genres(GENRES),
        "years": data_figures.years(YEARS),
        "objective": model_figures.objective_terms(history),
        "phases": model_figures.phases(history),
        "errors": model_figures.errors_by_popularity(BINS),
        "calibration": model_figures.calibration(STEPS),
        "map": model_figures.film_map(FILMS, ["Drama", "Comedy"]),
        "features": model_figures.feature_heat_map(DIRECTIONS),
        "biases": model_figures.biases(FILMS),
    }
    assert all(path.stat().st_size > 5_000 for path in save_figures(drawn, tmp_path))


def test_the_mean_of_the_ratings_is_marked():
    (axes,) = data_figures.rating_counts([1.0, 5.0], [1, 3]).axes
    assert axes.lines[0].get_xdata()[0] == 4.0
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]
    assert axes.get_title(loc="left") == "Ratings by value (4)"


def test_terms_that_stay_zero_are_left_out():
    history = random_history()
    at = history.column_names.index("graph_item")
    history = history.set_column(at, "graph_item", [np.zeros(len(history))])
    left, right = model_figures.objective_terms(history).axes
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert "graph of films" not in names
    assert "graph of users" in names
    assert len(right.lines) == len(names) - 2, "neither J nor the squared errors"


def test_steps_of_few_rows_are_not_called_calibrated():
    left, right = model_figures.calibration(STEPS, least=20).axes
    assert left.lines[0].get_xdata().tolist() == [3.0]
    assert right.lines[0].get_ydata() == pytest.approx([50 / 55, 5 / 55])


def test_the_map_names_the_most_rated_and_colours_by_the_rarest_genre():
    (axes,) = model_figures.film_map(FILMS, ["Drama", "Comedy"], named=2).axes
    assert [text.get_text() for text in axes.texts] == [
        "Seven Samurai",
        "A Film with a Title of Some Length"[:25] + "…",
    ]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["other (1)", "Drama (1)", "Comedy (1)"]


def test_titles_that_would_meet_are_left_out():
    crowd = pd.concat([FILMS, FILMS.assign(title="Twin (1954)", ratings=80.0)], ignore_index=True)
    crowd = crowd[crowd["title"].notna()].sort_values("ratings", ascending=False)
    (axes,) = model_figures.film_map(crowd, ["Drama", "Comedy"]).axes
    assert [text.get_text() for text in axes.texts] == ["Seven Samurai", "Twin", "Twin"], "five films, three places"


def test_a_first_iteration_that_compiles_does_not_hide_the_others():
    history = random_history().to_pydict()
    for name in model_figures.PHASES:
        history[name] = [50.0, 0.1, 0.1]
    (axes,) = model_figures.phases(pa.table(history)).axes
    assert axes.get_ylim()[1] < 1
    assert axes.texts[0].get_text() == "iteration 1: 200.0 s, cut off"


def test_features_and_their_bias_have_scales_of_their_own():
    genre, year, _ = model_figures.feature_heat_map(DIRECTIONS).axes
    shown = genre.images[0].get_array()
    assert shown[:, 1].max() == pytest.approx(0.1 / 0.3)
    assert shown[:, 0].tolist() == [-1.0, 1.0], "sorted along the first axis"
    assert [label.get_text() for label in year.get_yticklabels()] == ["1990-1994"]
