"""Exact top-N by blocked matrix products with a running selection.

For a batch of users and one tile of items after another, a float32 product gives p_u · q_i + c_i, items already seen
are struck out, and each user's best n + SPARE so far are kept. Memory is bounded by one product tile, whatever the
numbers of users and items.

The last bit of a BLAS product may depend on the shape of the batch, so products only choose candidates. The kept items
are scored again by `kernels.predict` (one fixed order of additions), ordered by that score and cut to n. Nothing is
lost thereby, and that is checked per user: no item outside the kept ones can reach the n-th score unless its product,
plus a bound on the rounding error of products, can. A user who fails the check (many items tied at the cut) is scored
in full. The result is therefore exactly that of scoring every item by `predict` and sorting, ties by ascending row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys_spark.kernels.predict import pair_score

Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]

SPARE = 8  # kept beyond n, so that the check above rarely fails
USER_BATCH = 256
ITEM_TILE = 4096  # a product tile of 256 x 4096 float32 is 4 MB
SCAN = 64  # products compared at a time before any of them is looked at
UNIT_ROUNDOFF = 2.0**-24  # of float32
NO_ITEM = -1


class SeenItems(NamedTuple):
    """Items to leave out, per user: those of user m are items[indptr[m]:indptr[m + 1]], in any order, repeats allowed.

    indptr: int64 (users + 1,).  items: int64 item rows; those outside the model (negative) are ignored.

    >>> SeenItems.of([[4, 2], []])
    SeenItems(indptr=array([0, 2, 2]), items=array([4, 2]))
    """

    indptr: Int64s
    items: Int64s

    @classmethod
    def of(cls, lists: list[list[int]]) -> SeenItems:
        """From one list of item rows per user."""
        indptr = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(items) for items in lists], out=indptr[1:])
        return cls(indptr, np.array([item for items in lists for item in items], np.int64))

    @classmethod
    def nothing(cls, users: int) -> SeenItems:
        """No seen items for any of so many users."""
        return cls(np.zeros(users + 1, np.int64), np.empty(0, np.int64))


def top_n_items(
    mu: float,
    user_factors: Float32s,
    user_biases: Float32s,
    item_factors: Float32s,
    item_biases: Float32s,
    n: int,
    seen: SeenItems | None = None,
    *,
    user_batch: int = USER_BATCH,
    item_tile: int = ITEM_TILE,
) -> tuple[Int64s, Float32s]:
    """The n best items of each of m users: (item rows int64 (m, n), scores float32 (m, n)), best first.

    user_factors (m, k) and item_factors (items, k) are float32 and C-contiguous, biases float32. Places that cannot be
    filled (fewer than n items left) hold row -1 and score NaN. Runs on one thread, apart from BLAS.

    Raises ValueError for n < 1 or `seen` of another number of users.
    """
    users = user_factors.shape[0]
    seen = SeenItems.nothing(users) if seen is None else seen
    if n < 1:
        raise ValueError(f"n must be at least 1, found {n}")
    if seen.indptr.shape[0] != users + 1:
        raise ValueError(f"seen items of {seen.indptr.shape[0] - 1} users given for {users} users")
    rows = np.full((users, n), NO_ITEM, np.int64)
    scores = np.full((users, n), np.nan, np.float32)
    if users == 0 or item_factors.shape[0] == 0:
        return rows, scores
    # c_i as one more column, against a column of ones: the product carries the bias at no extra pass.
    queries = np.column_stack([user_factors, np.ones(users, np.float32)])
    targets = np.column_stack([item_factors, item_biases])
    slack = _product_error(queries, targets)
    buffer = np.empty((min(user_batch, users), min(item_tile, len(targets))), np.float32)
    for start in range(0, users, user_batch):
        batch = slice(start, min(start + user_batch, users))
        excluded = SeenItems(*_sorted_rows(seen.indptr[batch.start : batch.stop + 1], seen.items, len(targets)))
        kept, products = _select(queries[batch], targets, excluded, n + SPARE, buffer)
        _finish(
            mu,
            user_factors[batch],
            user_biases[batch],
            item_factors,
            item_biases,
            kept,
            products,
            slack[batch],
            excluded.indptr,
            excluded.items,
            rows[batch],
            scores[batch],
        )
    return rows, scores


def _product_error(queries: Float32s, targets: Float32s) -> NDArray[np.float64]:
    """Per user, a bound on |float32 product − exact product| over all items, in any order of additions.

    |fl(x·y) − x·y| ≤ γ_k Σ|x_j y_j| ≤ γ_k ‖x‖‖y‖ with γ_k = k·u/(1 − k·u) (Higham, Accuracy and Stability, §3.1).
    Factor and bias are bounded apart, as a large bias must not multiply a large factor. Doubled for safety.
    """
    width = queries.shape[1]
    gamma = width * UNIT_ROUNDOFF / (1 - width * UNIT_ROUNDOFF)
    longest = np.sqrt(np.max(np.einsum("ij,ij->i", targets[:, :-1], targets[:, :-1], dtype=np.float64)))
    lengths = np.sqrt(np.einsum("ij,ij->i", queries[:, :-1], queries[:, :-1], dtype=np.float64))
    # The smallest normal number covers products that underflow.
    tiny = width * float(np.finfo(np.float32).tiny)
    return np.asarray(2 * gamma * (lengths * longest + float(np.max(np.abs(targets[:, -1])))) + tiny, np.float64)


def _select(
    queries: Float32s, targets: Float32s, excluded: SeenItems, keep: int, buffer: Float32s
) -> tuple[Int64s, Float32s]:
    """The `keep` best items of each user of a batch by product, (rows, products) each (batch, keep), best first."""
    users, tile = len(queries), buffer.shape[1]
    kept = np.full((users, keep), NO_ITEM, np.int64)
    products = np.full((users, keep), -np.inf, np.float32)
    cursors = excluded.indptr[:-1].copy()
    for first in range(0, len(targets), tile):
        block = targets[first : first + tile]
        product = buffer[:users, : len(block)] if len(block) == tile else np.empty((users, len(block)), np.float32)
        np.matmul(queries, block.T, out=product)
        _merge_tile(product, first, cursors, excluded.indptr, excluded.items, kept, products)
    return kept, products


@njit(cache=True, nogil=True)
def _sorted_rows(indptr: Int64s, items: Int64s, rows: int) -> tuple[Int64s, Int64s]:
    """The lists of a batch, each sorted, without entries outside 0 … rows − 1; indptr of the result starts at 0."""
    out_indptr = np.zeros(indptr.shape[0], np.int64)
    out = np.empty(indptr[-1] - indptr[0], np.int64)
    filled = 0
    for user in range(indptr.shape[0] - 1):
        begin = filled
        for place in range(indptr[user], indptr[user + 1]):
            if 0 <= items[place] < rows:
                out[filled] = items[place]
                filled += 1
        out[begin:filled].sort()
        out_indptr[user + 1] = filled
    return out_indptr, out[:filled]


@njit(cache=True, nogil=True)
def _merge_tile(
    product: Float32s, first: int, cursors: Int64s, indptr: Int64s, items: Int64s, kept: Int64s, products: Float32s
) -> None:
    """Strike out seen items in a product tile whose first column is item `first`, then merge it into the selection.

    `cursors` (batch,) remember how far each user's seen items have been struck out. A later item must beat the worst
    kept one strictly, so equal products stay in ascending order of item rows.
    """
    users, width = product.shape
    last = kept.shape[1] - 1
    for user in range(users):
        row = product[user]
        while cursors[user] < indptr[user + 1] and items[cursors[user]] < first + width:
            row[items[cursors[user]] - first] = -np.inf
            cursors[user] += 1
        threshold = products[user, last]
        for begin in range(0, width, SCAN):
            end = min(begin + SCAN, width)
            better = 0
            for column in range(begin, end):  # a count vectorises where a maximum of floats does not
                better += row[column] > threshold
            if better == 0:
                continue
            for column in range(begin, end):
                if row[column] > threshold:
                    place = last
                    while place > 0 and products[user, place - 1] < row[column]:
                        products[user, place] = products[user, place - 1]
                        kept[user, place] = kept[user, place - 1]
                        place -= 1
                    products[user, place] = row[column]
                    kept[user, place] = first + column
                    threshold = products[user, last]


@njit(cache=True, nogil=True)
def _finish(
    mu: float,
    user_factors: Float32s,
    user_biases: Float32s,
    item_factors: Float32s,
    item_biases: Float32s,
    kept: Int64s,
    products: Float32s,
    slack: NDArray[np.float64],
    indptr: Int64s,
    items: Int64s,
    rows: Int64s,
    scores: Float32s,
) -> None:
    """Score the kept items of a batch in the fixed order, order and cut them into rows and scores (batch, n), check."""
    keep, n = kept.shape[1], rows.shape[1]
    for user in range(kept.shape[0]):
        for place in range(keep):
            item = kept[user, place]
            if item < 0:
                break
            offset = np.float64(mu) + np.float64(user_biases[user]) + np.float64(item_biases[item])
            _insert(
                item, np.float32(pair_score(offset, user_factors[user], item_factors[item])), rows[user], scores[user]
            )
        if kept[user, keep - 1] < 0:
            continue  # every unseen item was kept
        highest_left = (
            np.float64(mu) + np.float64(user_biases[user]) + np.float64(products[user, keep - 1]) + slack[user]
        )
        if np.float32(highest_left) < scores[user, n - 1]:
            continue
        rows[user, :] = NO_ITEM
        scores[user, :] = np.nan
        cursor = indptr[user]
        for item in range(item_factors.shape[0]):
            while cursor < indptr[user + 1] and items[cursor] < item:
                cursor += 1
            if cursor < indptr[user + 1] and items[cursor] == item:
                continue
            offset = np.float64(mu) + np.float64(user_biases[user]) + np.float64(item_biases[item])
            _insert(
                item, np.float32(pair_score(offset, user_factors[user], item_factors[item])), rows[user], scores[user]
            )


@njit(cache=True, nogil=True)
def _insert(item: int, score: np.float32, rows: Int64s, scores: Float32s) -> None:
    """Put an item into a list ordered by score descending, then row ascending; empty places hold row -1."""
    place = rows.shape[0]
    while place > 0:
        other = rows[place - 1]
        if other >= 0 and (scores[place - 1] > score or (scores[place - 1] == score and other < item)):
            break
        if place < rows.shape[0]:
            rows[place] = rows[place - 1]
            scores[place] = scores[place - 1]
        place -= 1
    if place < rows.shape[0]:
        rows[place] = item
        scores[place] = score
