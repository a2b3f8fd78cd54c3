"""With what is ours switched off, an iteration of BlockALS is an iteration of pyspark.ml.ALS."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession

from recsys_spark import BlockALS, BlockALSModel

FORMS = {
    "explicit": {"regParam": 0.1},
    "implicit": {"regParam": 0.05, "implicitPrefs": True, "alpha": 3.0},
    "nonnegative": {"regParam": 0.1, "nonnegative": True},
}


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    """Explicit or implicit; one pair twice, some r negative or zero, some users of one rating."""
    rng = np.random.default_rng(3)
    likes = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 45))
    u, i = np.nonzero(rng.random((60, 45)) < np.where(likes > 0.5, 0.5, 0.1))
    r = np.clip(np.rint(3 + likes[u, i]), -1, 5)
    table = pa.table({"user": pa.array([*u, u[0], 70], pa.int32()), "item": [*i, i[0], 0], "rating": [*r, 2.0, 4.0]})
    return spark.createDataFrame(table).coalesce(1).cache()


def rows(frame: DataFrame) -> dict[int, np.ndarray]:
    return {row.id: np.array(row.features) for row in frame.collect()}


@pytest.mark.parametrize("form", FORMS)
def test_an_iteration_from_sparks_factors_gives_sparks_next(ratings: DataFrame, form: str) -> None:
    params = {"rank": 4, "seed": 7} | FORMS[form]
    blocks = {"numUserBlocks": 1, "numItemBlocks": 1}
    before, after = (ALS(maxIter=n, **params | blocks).fit(ratings) for n in (2, 3))
    start = BlockALSModel.fromSparkALS(before, **FORMS[form])
    ours = BlockALS.sparkDefaults(maxIter=1, **params).setInitialModel(start).fit(ratings)
    moved = 0.0
    for theirs, own, first in (
        (after.userFactors, ours.userFactors, before.userFactors),
        (after.itemFactors, ours.itemFactors, before.itemFactors),
    ):
        expected, found, initial = rows(theirs), rows(own), rows(first)
        assert found.keys() == expected.keys()
        for row, factors in expected.items():
            np.testing.assert_allclose(found[row], factors, atol=1e-5, err_msg=f"{row}")
            moved = max(moved, np.abs(factors - initial[row]).max())
    assert moved > 1e-2  # else any iteration would do


def test_a_model_of_spark_as_one_of_ours(ratings: DataFrame) -> None:
    theirs = ALS(rank=3, maxIter=2, seed=1, numUserBlocks=1, numItemBlocks=1).setPredictionCol("p").fit(ratings)
    ours = BlockALSModel.fromSparkALS(theirs)
    assert (ours.rank, ours.getPredictionCol(), ours.getUserCol()) == (3, "p", "user")
    expected = [row.p for row in theirs.transform(ratings).orderBy("user", "item", "rating").collect()]
    found = [row.p for row in ours.transform(ratings).orderBy("user", "item", "rating").collect()]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not ours.hasSummary
    with pytest.raises(RuntimeError, match="No training summary available for this BlockALSModel"):
        _ = ours.summary
    # Spark's users are the fold-in of their ratings too
    folded = ours.foldInUsers(ratings)
    np.testing.assert_allclose(folded.fitted.user.factors, ours.fitted.user.factors, atol=1e-5)
