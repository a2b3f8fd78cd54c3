"""Nearest rows by cosine, against a dense n × n matrix sorted row by row."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_spark.features import neighbours
from recsys_spark.features.neighbours import Sparse, chosen_columns, chunks, distinct_vectors, nearest


def sparse(x: np.ndarray) -> Sparse:
    rows, columns = np.nonzero(x)
    indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=len(x)))].astype(np.int64)
    return Sparse(indptr, columns.astype(np.int32), x[rows, columns].astype(np.float32), x.shape[1])


def few_kinds(n: int, width: int, seed: int) -> np.ndarray:
    """Rows like genres and years: few distinct ones, most of them often, some empty, similarities that tie."""
    rng = np.random.default_rng(seed)
    kinds = (rng.random((max(1, n // 4), width)) < 0.3).astype(float)
    return kinds[rng.integers(0, len(kinds), n)] * rng.choice([1.0, 0.5, 3.0], (n, 1))


def dense_nearest(x: np.ndarray, top_k: int, least: float) -> dict[tuple[int, int], float]:
    """The definition: all cosines, each row's others by s, ties from the row on and round, the first near enough."""
    norms = np.linalg.norm(x, axis=1)
    unit = np.divide(x, norms[:, None], out=np.zeros_like(x), where=norms[:, None] > 0)
    s = np.round(unit @ unit.T, 6)
    found = {}
    for i in range(len(x)):
        order = sorted((j for j in range(len(x)) if j != i), key=lambda j: (-s[i, j], j < i, j))
        found |= {(i, j): s[i, j] for j in order[:top_k] if s[i, j] >= least and s[i, j] > 0}
    return found


def all_edges(x: Sparse, top_k: int, least: float, cuts=None) -> dict[tuple[int, int], float]:
    vectors = distinct_vectors(x)
    found: dict[tuple[int, int], float] = {}
    for low, high in cuts(vectors.number) if cuts else chunks(vectors):
        edges = nearest(vectors, low, high, top_k, least)
        pairs = list(zip(edges.rows.tolist(), edges.neighbours.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        found |= dict(zip(pairs, edges.similarity.tolist(), strict=True))
    return found


@given(
    st.integers(1, 50), st.integers(1, 8), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**31)
)
@settings(max_examples=150, deadline=None)
def test_neighbours_are_those_of_the_dense_matrix(n: int, width: int, top_k: int, least: float, seed: int) -> None:
    x = few_kinds(n, width, seed)
    least -= 1e-5  # cosines of equal vectors may miss 1 by one rounding in the dense matrix
    found, expected = all_edges(sparse(x), top_k, least), dense_nearest(x, top_k, least)
    assert found.keys() == expected.keys()
    assert all(found[pair] == pytest.approx(expected[pair], abs=2e-6) for pair in found)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_neighbours_by_dense_features_of_both_signs(n: int, top_k: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 5))
    found, expected = all_edges(sparse(x), top_k, 0.1), dense_nearest(x, top_k, 0.1)
    assert found.keys() == expected.keys()
    assert min(found.values(), default=1) >= 0.1


@given(st.integers(0, 2**31), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_which_vectors_are_taken_together_changes_no_bit(seed: int, step: int) -> None:
    x = sparse(few_kinds(60, 12, seed))
    parts = all_edges(x, 5, 0.0, lambda m: [(low, min(low + step, m)) for low in range(0, m, step)])
    assert parts == all_edges(x, 5, 0.0)
    both = {pair for pair in parts if pair[::-1] in parts}
    assert all(parts[i, j] == parts[j, i] for i, j in both)


def test_a_row_is_not_its_own_neighbour_and_gets_all_that_it_may() -> None:
    x = sparse(np.ones((6, 1)))
    assert all_edges(x, 2, 0.0).keys() == {(i, (i + step) % 6) for i in range(6) for step in (1, 2)}
    assert len(all_edges(x, 9, 0.0)) == 30


def test_least_similarity_is_included() -> None:
    x = sparse(np.array([[1.0, 0], [1, 1], [1, 0], [0, 0]]))
    assert all_edges(x, 9, 1.0) == {(0, 2): 1.0, (2, 0): 1.0}
    half = float(np.float32(np.sqrt(0.5)))
    assert all_edges(x, 9, half).keys() == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert all_edges(x, 9, half + 1e-6).keys() == {(0, 2), (2, 0)}


def test_distinct_vectors_and_chosen_columns() -> None:
    x = sparse(np.array([[0, 2.0, 1], [0, 4, 5], [3, 0, 0], [0, 0, 7], [0, 1, 0]]))
    vectors = distinct_vectors(chosen_columns(x, np.array([True, True, False])))
    assert vectors.number == 2
    assert [vectors.members[a:b].tolist() for a, b in zip(vectors.starts, vectors.starts[1:], strict=False)] == [
        [0, 1, 4],
        [2],
    ]
    assert vectors.matrix.indices.tolist() == [1, 0]
    assert vectors.matrix.values.tolist() == [1.0, 1.0]


def test_no_features_at_all() -> None:
    vectors = distinct_vectors(sparse(np.zeros((3, 4))))
    assert (vectors.number, chunks(vectors)) == (0, [])


def test_chunks_cover_all_vectors_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_CELLS", 40)
    vectors = distinct_vectors(sparse(np.eye(13)))
    assert chunks(vectors) == [(0, 3), (3, 6), (6, 9), (9, 12), (12, 13)]


def test_the_example_in_the_module() -> None:
    assert doctest.testmod(neighbours).failed == 0
