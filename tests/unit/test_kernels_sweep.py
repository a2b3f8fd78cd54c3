"""The half-sweep and the joint solve against the dense float64 reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import NumbaError

from recsys_spark.kernels import projection as proj
from recsys_spark.kernels.exact import off_grid, on_grid, scale_for
from recsys_spark.kernels.passes import row_pass
from recsys_spark.kernels.rows import NO_F32, Csr, Other, Prior, Reg, empty_csr, pad, padded_rank
from recsys_spark.kernels.sweep import Bias, half_sweep, row_precisions
from recsys_spark.kernels.uncounted import uncounted
from reference import dense

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 15), st.integers(0, 10), st.integers(0, 4), st.integers(0, 2**31))


def csr_of(mask: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> Csr:
    rows, cols = np.nonzero(mask)
    indptr = np.r_[0, np.cumsum(mask.sum(1))].astype(np.int64)
    w = NO_F32 if weights is None else weights[rows, cols].astype(np.float32)
    return Csr(indptr, cols.astype(np.int32), values[rows, cols].astype(np.float32), w)


class Problem:
    """One side of a random problem, both as kernels and as the reference want it."""

    def __init__(self, n: int, others: int, rank: int, d: int, seed: int, weighted: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.rank, self.mu = rank, 3.1
        self.ratings = (rng.integers(1, 11, (n, others)) / 2).astype(np.float32).astype(float)
        self.mask = rng.random((n, others)) < 0.6
        w = rng.integers(1, 4, (n, others)).astype(float) if weighted else np.ones((n, others))
        self.weights = w * self.mask
        self.factors = rng.normal(0, 0.7, (others, rank)).astype(np.float32)
        self.biases = rng.normal(0, 0.5, others).astype(np.float32)
        self.x = (rng.normal(0, 1, (n, d)) * (rng.random((n, d)) < 0.7)).astype(np.float32)
        self.projection = rng.normal(0, 0.3, (d, rank + 1))
        self.side = dense.Side(
            self.x.astype(float), rng.uniform(0.5, 4, n), 2.5, rng.uniform(1, 9, (d, rank)), rng.uniform(1, 9, d)
        )
        self.rows = csr_of(self.mask, self.ratings, self.weights if weighted else None)
        self.features = csr_of(self.x != 0, self.x)
        self.other = Other(pad(self.factors), self.biases)
        self.reg = Reg(self.side.lam, self.side.lam_bias)

    def reference_args(self) -> tuple:
        return self.ratings, self.weights, self.factors.astype(float), self.biases.astype(float), self.mu, self.side


@given(SIZES, st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_rows_are_the_reference_solution_and_sums_are_its_objective(size: tuple, weighted: bool, learned: bool) -> None:
    p = Problem(*size, weighted=weighted)
    kept = np.random.default_rng(1).normal(0, 0.3, len(p.ratings)).astype(np.float32)
    bias = Bias(p.mu, learned, NO_F32 if learned else kept)
    scale = scale_for(1e6)
    factors, biases, sums = half_sweep(p.rows, p.other, Prior(p.features, p.projection), p.reg, bias, p.rank, scale)
    expected, expected_bias = dense.solve_rows(
        *p.reference_args(), p.projection, learned, None if learned else kept.astype(float)
    )
    np.testing.assert_allclose(factors, expected, atol=2e-4)
    np.testing.assert_allclose(biases, expected_bias, atol=2e-4)
    state = dense.State(
        p.mu,
        {"user": expected, "item": p.factors.astype(float)},
        {"user": expected_bias, "item": p.biases.astype(float)},
        {"user": p.projection},
    )
    terms = dense.terms(p.ratings, p.weights, {"user": p.side}, state)
    assert sums.failed == -1
    assert off_grid(sums.sse, scale) == pytest.approx(terms["sse"], rel=1e-4, abs=1e-4)
    assert off_grid(sums.reg_factor, scale) == pytest.approx(terms["reg_user"], rel=1e-3, abs=1e-4)
    if learned:
        assert off_grid(sums.reg_bias, scale) == pytest.approx(terms["reg_user_bias"], rel=1e-3, abs=1e-4)
    assert sums.max_bias == np.abs(biases).max()


@given(st.tuples(st.integers(1, 8), st.integers(1, 9), st.integers(0, 5), st.integers(1, 3), st.integers(0, 2**31)))
@settings(max_examples=40, deadline=None)
def test_the_projection_is_the_joint_minimiser(size: tuple) -> None:
    p = Problem(*size)
    scales = proj.Scales(scale_for(1e5), scale_for(1e5))
    sums = proj.projection_sums(
        p.rows, Prior(p.features, p.projection), p.other, p.reg, p.mu, True, NO_F32, p.rank, scales
    )
    assert sums.failed == -1
    penalty = np.hstack([p.side.penalty, p.side.penalty_bias[:, None]])
    solved = proj.solve_projection(sums.normal, sums.right, scales, penalty, p.projection)
    factors, biases, expected = dense.solve_jointly(*p.reference_args())
    np.testing.assert_allclose(solved, expected, atol=3e-4)
    got, got_bias, _ = half_sweep(
        p.rows, p.other, Prior(p.features, solved), p.reg, Bias(p.mu, True, NO_F32), p.rank, scale_for(1e6)
    )
    np.testing.assert_allclose(got, factors, atol=1e-3)
    np.testing.assert_allclose(got_bias, biases, atol=1e-3)


def test_sums_are_the_same_bits_however_rows_are_grouped() -> None:
    p = Problem(40, 30, 6, 3, 5)
    scale = scale_for(1e6)
    bias = Bias(p.mu, True, NO_F32)
    whole = half_sweep(p.rows, p.other, Prior(p.features, p.projection), p.reg, bias, p.rank, scale)
    for cuts in ([0, 40], [0, 1, 40], [0, 13, 14, 31, 40]):
        parts = []
        for low, high in itertools.pairwise(cuts):
            rows, x = (slice_rows(c, low, high) for c in (p.rows, p.features))
            reg = Reg(p.reg.factor[low:high], p.reg.bias)
            parts.append(half_sweep(rows, p.other, Prior(x, p.projection), reg, bias, p.rank, scale))
        assert np.concatenate([f for f, _, _ in parts]).tobytes() == whole[0].tobytes()
        assert [sum(s[i] for _, _, s in parts) for i in range(3)] == list(whole[2][:3])


def test_a_row_has_the_same_bits_in_any_company() -> None:
    """Sixteen rows share a vector; a grid of 2⁻⁵⁰ shows the last bits of every float64 that is summed."""
    p = Problem(40, 30, 3, 3, 11)
    scales = proj.Scales(2.0**50, 2.0**50)

    def sums(low: int, high: int) -> proj.ProjectionSums:
        rows, x = (slice_rows(c, low, high) for c in (p.rows, p.features))
        reg = Reg(p.reg.factor[low:high], p.reg.bias)
        return proj.projection_sums(rows, Prior(x, p.projection), p.other, reg, p.mu, True, NO_F32, p.rank, scales)

    alone = [sums(i, i + 1) for i in range(40)]
    for low in range(5):
        together = sums(low, 40)
        assert (together.normal == sum(one.normal for one in alone[low:])).all()
        assert (together.right == sum(one.right for one in alone[low:])).all()


def slice_rows(c: Csr, low: int, high: int) -> Csr:
    a, b = c.indptr[low], c.indptr[high]
    return Csr(c.indptr[low : high + 1] - a, c.cols[a:b], c.values[a:b], c.weights[a:b])


def test_weight_two_is_the_rating_given_twice() -> None:
    rng = np.random.default_rng(3)
    other = Other(pad(rng.normal(size=(5, 3)).astype(np.float32)), np.zeros(5, np.float32))
    cols, values = np.arange(5, dtype=np.int32), rng.normal(3, 1, 5).astype(np.float32)
    once = Csr(np.array([0, 5]), cols, values, np.full(5, 2, np.float32))
    twice = Csr(np.array([0, 10]), np.repeat(cols, 2), np.repeat(values, 2), NO_F32)
    assert once.row_weights() == twice.row_weights()
    prior, bias = Prior(empty_csr(1), np.zeros((0, 4))), Bias(3.0, True, NO_F32)
    reg = Reg(np.array([1.5]), 2.0)
    a, b = (half_sweep(r, other, prior, reg, bias, 3, 1e6) for r in (once, twice))
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)


def test_a_singular_row_is_named() -> None:
    p = Problem(6, 8, 5, 0, 2)
    lam = p.side.lam.copy()
    lam[3] = 0.0
    rows = Csr(np.array([0, 1, 2, 3, 4, 5, 6]), np.zeros(6, np.int32), np.full(6, 3, np.float32), NO_F32)
    prior = Prior(p.features, np.zeros((0, 6)))
    *_, sums = half_sweep(rows, p.other, prior, Reg(lam, 1.0), Bias(3.0, True, NO_F32), 5, 1e6)
    assert sums.failed == 3


@pytest.mark.parametrize("n", [1, 7, 8, 513, 100_000, 1_000_000])
def test_long_rows_keep_the_backward_error_and_the_predictions(n: int) -> None:
    rng = np.random.default_rng(n)
    k = 32
    basis = rng.normal(size=(n, k)) * np.logspace(0, -2.3, k)  # condition number of the Gram about 4e4
    other = Other(pad(basis.astype(np.float32)), np.zeros(n, np.float32))
    values = (basis @ rng.normal(size=k) + rng.normal(size=n)).astype(np.float32)
    rows = Csr(np.array([0, n]), np.arange(n, dtype=np.int32), values, NO_F32)
    reg = Reg(np.array([1e-5 * n + 0.05]), 1.0)
    prior = Prior(empty_csr(1), np.zeros((0, k + 1)))
    factors, biases, _ = half_sweep(rows, other, prior, reg, Bias(0.0, True, NO_F32), k, 1e6)
    design = np.hstack([basis.astype(np.float32).astype(float), np.ones((n, 1))])
    a = design.T @ design + np.diag(np.r_[np.full(k, reg.factor[0]), 1.0])
    b = design.T @ values.astype(float)
    theta = np.r_[factors[0], biases[0]].astype(float)
    error = np.linalg.norm(a @ theta - b)
    assert error <= 1e-5 * (np.linalg.norm(a, 2) * np.linalg.norm(theta) + np.linalg.norm(b))
    assert np.abs(design @ (theta - np.linalg.solve(a, b))).max() <= 1e-4 * max(1.0, np.abs(values).max())


def test_lambda_modes() -> None:
    n = np.array([0.0, 3.0, 8.0])
    assert row_precisions(n, 2.0, "constant").tolist() == [2, 2, 2]
    assert row_precisions(n, 2.0, "weighted").tolist() == [0, 6, 16]
    assert row_precisions(n, 2.0, "inverse_sqrt").tolist() == pytest.approx([2, 1, 2 / 3])
    for mode in ("constant", "weighted", "inverse_sqrt"):
        more = row_precisions(n, 2.0, mode, 0.5) - row_precisions(n, 2.0, mode)
        assert more.tolist() == pytest.approx([0, 1.5, 4])
    with pytest.raises(ValueError, match="no λ mode 'x'"):
        row_precisions(n, 2.0, "x")


def test_what_is_compiled_without_reference_counts_cannot_make_arrays() -> None:
    assert row_pass.targetoptions["_nrt"] is False
    with pytest.raises(NumbaError, match="NRT required but not enabled"):
        uncounted(_moved)(np.ones(3))


def _moved(a: np.ndarray) -> None:
    a[1:] = a[:-1]  # which overlap


def test_padded_rows_begin_at_cache_lines() -> None:
    tables = [pad(np.ones((n, 20), np.float32)) for n in (1, 1000, 100_000)]
    assert [table.ctypes.data % 64 for table in tables] == [0, 0, 0]


def test_padding() -> None:
    assert [padded_rank(k) for k in (0, 1, 8, 9, 32, 33, 64, 150)] == [16, 16, 16, 16, 32, 48, 64, 160]


def test_the_grid_holds_any_sum_within_its_bound() -> None:
    for bound in (1e-12, 1.0, 3.7e9, 1e18):
        scale = scale_for(bound)
        assert 2**60 <= bound * scale <= 2**61
        assert abs(off_grid(on_grid(bound / 3, scale), scale) - bound / 3) <= 1 / scale
    assert scale_for(0.0) == 1.0
    with pytest.raises(ValueError, match="finite bound"):
        scale_for(float("nan"))


def test_blocks_in_files_and_in_memory_share_what_is_compiled() -> None:
    p = Problem(4, 5, 3, 2, seed=0)
    bias, scale, compiled = Bias(p.mu, True, NO_F32), scale_for(1e6), set[int]()
    for rows in (p.rows, p.rows.read_only(), p.rows._replace(indptr=p.rows.read_only().indptr)):
        half_sweep(rows, p.other, Prior(p.features, p.projection), p.reg, bias, p.rank, scale)
        compiled.add(len(row_pass.signatures))
    assert p.rows.values.flags.writeable, "the caller's arrays stay as they are"
    assert len(compiled) == 1, "compiling takes half a minute"
