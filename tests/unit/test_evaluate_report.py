"""Results as numbers, JSON and a table; figures as PNG files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys_spark.evaluate import figures
from recsys_spark.evaluate.rating import RatingSums
from recsys_spark.evaluate.report import RANKED, Report, title

REPORT = Report(
    {
        "model": [RatingSums(4, 0, 4.0, 3.0, 1), RatingSums(), RatingSums(12, 0, 3.0, 5.0, 7)],
        "biases": [RatingSums(4, 0, 1.0, 1.5, 2), RatingSums(), RatingSums(12, 0, 15.0, 12.0, 2)],
    },
    (0, 1, 3),
)


def test_metrics_are_named_by_predictor():
    metrics = REPORT.metrics()
    assert metrics["rmse"] == math.sqrt(7 / 16)
    assert metrics["mae"] == 0.5
    assert metrics["accuracy"] == 0.5
    assert metrics["rmse_cold"] == 1.0
    assert metrics["rmse_biases"] == 1.0
    assert metrics["rmse_cold_biases"] == 0.5
    assert (metrics["test_rows"], metrics["cold_rows"]) == (16, 4)


def test_without_a_bin_of_cold_items_there_is_no_cold_rmse():
    report = Report({"model": [RatingSums(4, 0, 4.0, 3.0, 1)]}, (0,))
    assert math.isnan(report.metrics()["rmse_cold"])
    assert report.metrics()["cold_rows"] == 0


def test_json_has_null_where_there_are_no_rows():
    found = json.loads(REPORT.to_json())
    assert found["metrics"]["rmse_biases"] == 1.0
    empty = next(row for row in found["bins"] if row["bin"] == "1–2" and row["predictor"] == "model")
    assert empty == {"predictor": "model", "bin": "1–2", "low": 1, "n": 0, "rmse": None, "mae": None, "accuracy": None}


def test_table_marks_the_best_and_leaves_out_empty_bins():
    assert REPORT.to_markdown().splitlines() == [
        "|  | RMSE | MAE | accuracy | RMSE 0 | RMSE 3+ |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| this model | **0.6614** | **0.5000** | **50.0%** | 1.0000 | **0.5000** |",
        "| biases only | 1.0000 | 0.8438 | 25.0% | **0.5000** | 1.1180 |",
        "| test rows | 16 | 16 | 16 | 4 | 12 |",
    ]


def test_rankings_have_a_table_of_their_own():
    found = dict.fromkeys(RANKED, 0.25)
    report = replace(
        REPORT, ranking={"model": found | {"users": 7}, "svd": found | {"ndcg": 0.5}}, protocol="So it was."
    )
    assert report.metrics()["ndcg_svd"] == 0.5
    assert (report.metrics()["ndcg"], report.metrics()["ranked_users"]) == (0.25, 7)
    assert json.loads(report.to_json())["ranking_protocol"] == "So it was."
    lines = report.to_markdown().splitlines()
    assert lines[:5] == REPORT.to_markdown().splitlines()
    assert lines[5:8] == ["", "So it was.", ""]
    assert lines[-1] == (
        "| truncated SVD | 0.5000 | 0.2500 | 0.2500 | 0.2500 | 0.2500 | 25.0% | 25.0% | 0.25 | 25.0% |"
    )
    assert "ranked_users" not in REPORT.metrics()


def test_unknown_predictors_have_a_readable_title():
    assert title("item_knn") == "item knn"


def history(n: int, validation: bool = True) -> pa.Table:
    t = np.arange(1, n + 1)
    return pa.table(
        {
            "iteration": pa.array(t, pa.int32()),
            "objective": 5e4 + 3e4 / t,
            "train_rmse": 0.7 + 0.2 / t,
            "validation_rmse": 0.85 + 0.1 / t if validation else np.full(n, np.nan),
        }
    )


def axes_of(figure):
    assert all(axes.get_ylabel() for axes in figure.axes)
    return figure.axes


@pytest.mark.parametrize("n", [0, 1, 12])
def test_learning_curve(n):
    upper, lower = axes_of(figures.learning_curve(history(n), min(n, 9)))
    assert upper.get_title(loc="left") == "Learning curve"
    assert lower.get_xlabel() == "iteration"
    labels = [text.get_text() for text in lower.get_legend().get_texts()]
    assert labels == (["training", "validation"] if n else []) + [f"kept: iteration {min(n, 9)}"]


def test_learning_curve_without_validation():
    _, lower = figures.learning_curve(history(4, validation=False), 4).axes
    assert [line.get_label() for line in lower.lines] == ["training", "kept: iteration 4"]


def test_rating_histogram_shows_shares():
    (axes,) = axes_of(figures.rating_histogram([1, 2], [1, 3], [4, 0]))
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75, 1.0, 0.0]


def test_popularity_bins_leave_out_empty_ones():
    (axes,) = axes_of(figures.popularity_bins(REPORT.labels, REPORT.rows, REPORT.rmse()))
    assert [bar.get_height() for bar in axes.patches] == [1.0, 0.5, 0.5, pytest.approx(1.118, abs=1e-3)]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0\n4 rows", "3+\n12 rows"]


def test_figures_are_saved_as_png_the_same_bytes_each_time(tmp_path):
    first, second = (
        figures.save_figures({"curve": figures.learning_curve(history(3), 2)}, tmp_path / name)[0] for name in "ab"
    )
    assert first == tmp_path / "a" / "curve.png"
    assert first.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert first.read_bytes() == second.read_bytes()
