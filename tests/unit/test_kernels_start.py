"""Initial factors: integers by hand, moments, and what they depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys_spark.kernels.start import MOST_ENERGY, initial_factors, keys_of, mix

GOLDEN, ALL = 0x9E3779B97F4A7C15, 2**64 - 1


def mixed(x: int) -> int:
    """splitmix64's finaliser in Python's own integers."""
    x = (x + GOLDEN) & ALL
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ALL
    return x ^ (x >> 31)


@pytest.mark.parametrize(("seed", "side"), [(0, 0), (7, 1), (-1, 0)])
def test_each_entry_is_the_sum_of_four_uniforms(seed: int, side: int) -> None:
    rank = 5
    found = initial_factors(keys_of(np.array([3, -8, 2**40])), rank, seed, side)
    stream = mixed(((seed & ALL) + side * GOLDEN) & ALL)
    for row, number in zip(found, (3, -8, 2**40), strict=True):
        first = mixed(mixed(number & ALL) ^ stream)
        for a, entry in enumerate(row):
            bits = mixed((first + a * GOLDEN) & ALL)
            total = sum(bits >> 16 * lane & 0xFFFF for lane in range(4))
            unit = math.sqrt((2**32 - 1) / 3)  # the standard deviation of their sum
            assert entry == pytest.approx((total - 2 * 0xFFFF) / unit / math.sqrt(rank), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("rank", [1, 10, 32])
def test_factors_have_mean_0_and_variance_one_over_the_rank(rank: int) -> None:
    factors = initial_factors(keys_of(np.arange(200_000 // rank)), rank, 3, 0).astype(np.float64) * math.sqrt(rank)
    n = factors.size
    assert abs(factors.mean()) < 5 / math.sqrt(n)
    assert factors.var() == pytest.approx(1, abs=5 * math.sqrt(1.7 / n))  # kurtosis 2.7
    assert np.mean(factors**4) == pytest.approx(2.7, abs=0.1)


def test_rows_sides_and_seeds_have_nothing_to_do_with_each_other() -> None:
    keys = keys_of(np.arange(20_000))
    draws = [initial_factors(keys, 4, seed, side) for seed, side in ((0, 0), (0, 1), (1, 0))]
    columns = np.column_stack([*draws, np.roll(draws[0], 1, axis=0)])
    correlations = np.corrcoef(columns, rowvar=False)
    assert np.abs(correlations - np.eye(16)).max() < 5 / math.sqrt(len(keys))


def test_a_row_is_the_same_wherever_it_stands() -> None:
    keys = keys_of(np.array([f"user {n}" for n in range(3000)]))
    whole = initial_factors(keys, 8, 1, 1)
    order = np.random.default_rng(0).permutation(len(keys))[:700]
    np.testing.assert_array_equal(initial_factors(keys[order], 8, 1, 1), whole[order])
    assert initial_factors(keys[:0], 8, 1, 1).shape == (0, 8)
    assert initial_factors(keys, 0, 1, 1).shape == (3000, 0)


def test_no_row_has_more_energy_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_spark.kernels.start.mix", lambda x: np.full(x.shape, ALL, np.uint64))
    factors = initial_factors(np.zeros(1, np.uint64), 32, 0, 0).astype(np.float64)
    assert 0.999 * MOST_ENERGY < (factors**2).sum() < MOST_ENERGY


def test_mix_is_splitmix64s_finaliser() -> None:
    given = [0, 1, GOLDEN, ALL]
    assert mix(np.array(given, np.uint64)).tolist() == [mixed(x) for x in given]
