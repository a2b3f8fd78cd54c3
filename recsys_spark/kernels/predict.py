"""Scores of given (user, item) pairs, in one fixed order of additions.

    r̂(u, i) = μ + b_u + c_i + p_u · q_i

A score never depends on the batch it is computed in: every sum runs in float64 over the columns from first to last and
is rounded to float32 once. A product of two float32 numbers is exact in float64, so a fused multiply-add gives the same
bits. Everything that shows a score (predictions, top-N, explanations) goes through `pair_score`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]


@njit(cache=True, nogil=True)
def pair_score(offset: float, p: Float32s, q: Float32s) -> float:
    """Sum offset + p · q for two rows of width k, in float64, columns in ascending order."""
    total = 0.0
    for column in range(p.shape[0]):
        total += np.float64(p[column]) * np.float64(q[column])
    return offset + total


@njit(cache=True, nogil=True)
def score_pairs(
    mu: float,
    user_factors: Float32s,
    user_biases: Float32s,
    item_factors: Float32s,
    item_biases: Float32s,
    users: Int64s,
    items: Int64s,
) -> Float32s:
    """Scores of n pairs, unclipped, float32 (n,).

    `users` and `items` are row numbers, int64 (n,). A negative one stands for an unknown row, whose factor and bias are
    zero: an unknown user gets μ + c_i, an unknown item μ + b_u, both μ. Factors are float32 (rows, k) and C-contiguous,
    biases float32 (rows,). Row numbers are not checked against the number of rows.
    """
    scores = np.empty(users.shape[0], np.float32)
    for pair in range(users.shape[0]):
        user, item = users[pair], items[pair]
        offset = np.float64(mu)
        if user >= 0:
            offset += np.float64(user_biases[user])
        if item >= 0:
            offset += np.float64(item_biases[item])
        if user >= 0 and item >= 0:
            offset = pair_score(offset, user_factors[user], item_factors[item])
        scores[pair] = offset
    return scores
