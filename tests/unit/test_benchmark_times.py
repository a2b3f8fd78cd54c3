"""What timed fits say: build, iteration, compile time, curves, ratios by pairs."""

from __future__ import annotations

import math

import pytest

from benchmark_factory import GIB, OURS, SPARK, judged, measured, phase
from recsys_spark.benchmark.times import curve, figures, fit_times, iteration_of, ratios, seconds_to, typical

FITS = [phase(0, 20.0), phase(0, 12.0), phase(1, 15.0), phase(6, 25.0)]


def test_times_of_a_full_process():
    run = measured(SPARK, judged(6, 9.0, 0.8, reg=0.2), *FITS, phase(0, 17.0, source="derived"), judged(6, 99.0, 0.9))
    times = fit_times(run.outcome)
    assert (times["build"], times["build_warm"], times["build_derived"]) == pytest.approx((20, 12, 17))
    assert times["iteration"] == pytest.approx((25 - 15) / 5)
    assert times["first_iteration"] == pytest.approx(15 - 12)
    assert math.isnan(times["compile"])
    found = figures(run)
    assert (found["fit"], found["test_rmse"], found["validation_rmse"]) == pytest.approx((99, 0.9, 0.89))
    assert (found["shuffled"], found["transform"], found["load"]) == pytest.approx((99e6, 9.9, 2.0))
    assert found["memory"] == GIB


def test_what_was_not_measured_is_not_a_number():
    found = figures(measured(OURS, phase(2, 5.0), memory=0))
    assert all(math.isnan(value) for value in found.values())


def test_an_iteration_lost_in_the_noise_is_not_a_number():
    lost = measured(OURS, phase(0, 5.0), phase(1, 6.0), phase(6, 5.5))
    assert math.isnan(fit_times(lost.outcome)["iteration"])
    assert ratios([lost], [measured(SPARK, *FITS)])["iteration"].values == ()


def test_compile_time_is_the_first_iteration_less_the_usual_one():
    run = measured(OURS, phase(3, 9.0, history=[8.0, 1.0, 2.0]))
    assert fit_times(run.outcome)["compile"] == pytest.approx(8.0 - 1.5)
    assert iteration_of(run) == 1.5
    assert iteration_of(measured(SPARK, *FITS)) == pytest.approx(2.0)


def test_a_curve_is_one_fit_s_history_or_a_fit_a_point():
    ours = judged(3, 10.0, 0.8, history=[2.0, 1.0, 1.0], validation=[0.9, 0.85, None])
    # Ten seconds less four of iterations: the first point is at 6 + 2.
    assert curve(measured(OURS, *FITS, ours).outcome) == [(1, 8.0, 0.9), (2, 9.0, 0.85)]
    spark = [judged(5, 30.0, 0.82), judged(1, 14.0, 0.95), judged(2, 18.0, 0.9)]
    points = curve(measured(SPARK, *FITS, *spark).outcome)
    assert [(point.iterations, point.seconds) for point in points] == [(1, 14.0), (2, 18.0), (5, 30.0)]
    assert [point.rmse for point in points] == pytest.approx([0.94, 0.89, 0.81])
    assert seconds_to(points, 0.9) == 18.0
    assert math.isnan(seconds_to(points, 0.5))


def test_ratios_are_by_pairs_and_the_claim_is_their_median():
    ours = [measured(OURS, phase(0, seconds)) for seconds in (1.0, 2.0, 4.0)]
    spark = [measured(SPARK, phase(0, s), memory=m) for s, m in ((10.0, 2.0), (10.0, 3.0), (12.0, 5.0))]
    found = ratios(ours, spark)
    assert found["build"].values == pytest.approx((10, 5, 3))
    assert (found["build"].low, found["build"].median, found["build"].high) == pytest.approx((3, 5, 10))
    assert found["memory"].values == pytest.approx((2, 3, 5))
    assert math.isnan(found["build_warm"].median)
    assert typical(ours, "build") == 2.0
    assert math.isnan(typical(ours, "iteration"))
