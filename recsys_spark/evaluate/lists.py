"""Ranking metrics of top-N lists on NumPy arrays: the twin of `ranking` for lists that are found in a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def ndcg(
    lists: npt.NDArray[np.integer[Any]], relevant: Sequence[npt.NDArray[np.integer[Any]]], k: int
) -> npt.NDArray[np.float64]:
    """NDCG@k of each of m users, as `ranking` defines it.

    Parameters
    ----------
    lists : item rows (m, n), best first; negative: no item
    relevant : for each user the rows of their relevant items, at least one; negative: an item that no list can hold

    >>> ndcg(np.array([[3, 5, 4], [1, 2, -1]]), [np.array([5]), np.array([1, 2, -1])], k=3).round(4)
    array([0.6309, 0.7654])
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.zeros(len(relevant))
    for user, wanted in enumerate(relevant):
        shown = lists[user, :k]
        hits = np.isin(shown, wanted) & (shown >= 0)
        found[user] = discount[: len(shown)][hits].sum() / discount[: min(len(wanted), k)].sum()
    return found
