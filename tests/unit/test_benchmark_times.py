"""What timed fits say: build, iteration, compile time, ratios by pairs."""

from __future__ import annotations

import math

import pytest

from benchmark_factory import GIB, measured
from recsys_spark.benchmark.spec import OURS, SPARK
from recsys_spark.benchmark.times import fit_times, measures, ratios, typical

FITS = ((0, 20.0), (0, 12.0), (1, 15.0), (6, 25.0))


def test_times_of_a_full_process():
    run = measured(SPARK, *FITS, derived=17.0)
    times = fit_times(run.outcome)
    assert (times["build"], times["build_warm"], times["build_derived"]) == pytest.approx((20, 12, 17))
    assert times["iteration"] == pytest.approx((25 - 15) / 5)
    assert times["first_extra"] == pytest.approx(15 - 12 - 2)
    assert math.isnan(times["compile"])


def test_what_was_not_measured_is_not_a_number():
    times = fit_times(measured(OURS, (2, 5.0)).outcome)
    assert all(math.isnan(value) for value in times.values())


def test_an_iteration_lost_in_the_noise_is_not_a_number():
    times = fit_times(measured(OURS, (0, 5.0), (1, 6.0), (6, 5.5)).outcome)
    assert math.isnan(times["iteration"])
    assert ratios([measured(OURS, (0, 5.0), (1, 6.0), (6, 5.5))], [measured(SPARK, *FITS)])["iteration"].values == ()


def test_compile_time_is_the_first_iteration_less_the_usual_one():
    run = measured(OURS, (3, 9.0), history=[8.0, 1.0, 2.0])
    assert fit_times(run.outcome)["compile"] == pytest.approx(8.0 - 1.5)


def test_memory_is_that_of_the_fits_of_parquet_alone():
    # 9 GiB were in use before the first fit, and 7 in that of derived ratings.
    assert measures(measured(OURS, *FITS, memory=1.5, derived=3.0))["memory"] == 1.5 * GIB


def test_ratios_are_by_pairs_and_the_claim_is_their_median():
    ours = [measured(OURS, (0, seconds), memory=1.0) for seconds in (1.0, 2.0, 4.0)]
    spark = [measured(SPARK, (0, seconds), memory=m) for seconds, m in ((10.0, 2.0), (10.0, 3.0), (12.0, 5.0))]
    found = ratios(ours, spark)
    assert found["build"].values == pytest.approx((10, 5, 3))
    assert (found["build"].low, found["build"].median, found["build"].high) == pytest.approx((3, 5, 10))
    assert found["memory"].values == pytest.approx((2, 3, 5))
    assert math.isnan(found["build_warm"].median)
    assert typical(ours, "build") == 2.0
    assert math.isnan(typical(ours, "iteration"))
