"""The Spark twin of the metrics: the same numbers as NumPy, one pass, and rows without a prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys_spark.errors import DataError
from recsys_spark.evaluate import rating
from recsys_spark.evaluate.aggregate import (
    class_counts,
    nearest_class,
    require_predictions,
    sums_by_bin,
    with_train_counts,
)

CLASSES = rating.rating_classes(0.5, 5.0, 0.5)
BOUNDS = [0, 1, 3, 6, 16]
DDL = "user bigint, item bigint, rating float, prediction float, other double, train_count int"


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(11)
    n = 500
    actual = rng.choice(CLASSES, n).astype(np.float32)
    near = (actual + rng.normal(0, 1, n)).astype(np.float32)
    near[:20] = rng.choice(CLASSES[:-1], 20) + 0.25  # ties
    counts = rng.choice([0, 1, 2, 3, 6, 15, 16, 40], n, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2])
    other = rng.normal(3, 3, n)
    other[rng.random(n) < 0.1] = np.nan
    return actual, near, other, counts


@pytest.fixture(scope="module")
def frame(spark, arrays):
    rows = [(i, i % 7, *map(float, values), int(count)) for i, (*values, count) in enumerate(zip(*arrays, strict=True))]
    return spark.createDataFrame(rows, DDL).repartition(3)


def test_spark_and_numpy_agree(frame, arrays):
    actual, near, other, counts = arrays
    found = sums_by_bin(frame, ["prediction", "other"], CLASSES, BOUNDS)
    for name, predicted in (("prediction", near), ("other", other)):
        expected = rating.sums_by_bin(actual, predicted, counts, CLASSES, BOUNDS)
        for mine, theirs in zip(found[name], expected, strict=True):
            assert (mine.n, mine.missing, mine.hits) == (theirs.n, theirs.missing, theirs.hits)
            assert mine.squared == pytest.approx(theirs.squared, rel=1e-12)
            assert mine.absolute == pytest.approx(theirs.absolute, rel=1e-12)
    assert all(part.n for part in found["prediction"]), "a bin of the test is empty"


def test_perfect_predictions_have_no_error(frame):
    (parts,) = sums_by_bin(frame, ["rating"], CLASSES, BOUNDS).values()
    whole = rating.total(parts)
    assert (whole.n, whole.rmse, whole.mae, whole.accuracy) == (500, 0.0, 0.0, 1.0)


def test_bins_without_rows_are_empty_sums(frame):
    (parts,) = sums_by_bin(frame.where("train_count = 2"), ["rating"], CLASSES, BOUNDS).values()
    assert [part.n > 0 for part in parts] == [False, True, False, False, False]


def test_nearest_class_ties(spark):
    values = spark.createDataFrame([(-9.0,), (0.75,), (0.74,), (5.1,)], "x double")
    assert [row[0] for row in values.select(nearest_class(values.x, CLASSES)).collect()] == [0, 1, 0, 9]


def test_class_counts(frame, arrays):
    actual, near, _, _ = arrays
    found = class_counts(frame, ["rating", "prediction"], CLASSES)
    for name, values in (("rating", actual), ("prediction", near)):
        assert found[name] == np.bincount(rating.nearest_class(values, CLASSES), minlength=10).tolist()


def test_missing_predictions_are_named(spark):
    rows = [(3, 1, 4.0, math.nan, 0.0, 0), (2, 9, 4.0, None, 0.0, 0), (1, 1, 4.0, 4.0, 0.0, 0)]
    df = spark.createDataFrame(rows, DDL)
    (parts,) = sums_by_bin(df, ["prediction"], CLASSES, BOUNDS).values()
    assert (parts[0].n, parts[0].missing, parts[0].rmse) == (1, 2, 0.0)
    with pytest.raises(DataError, match=r"2 of 3 rows have no prediction .* \(user, item\): \(2, 9\), \(3, 1\);"):
        require_predictions(df, "prediction", parts)
    require_predictions(df, "other", sums_by_bin(df, ["other"], CLASSES, BOUNDS)["other"])


def test_training_counts(spark):
    train = spark.createDataFrame([(1, 5), (2, 5), (3, 6)], "user bigint, item bigint")
    test = spark.createDataFrame([(9, 5), (9, 6), (9, 7)], "user bigint, item bigint")
    found = with_train_counts(test, train)
    assert {row.item: row.train_count for row in found.collect()} == {5: 2, 6: 1, 7: 0}
    assert dict(found.dtypes)["train_count"] == "int"
