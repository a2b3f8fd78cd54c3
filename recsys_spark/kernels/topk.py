"""Exact top-N: products in registers choose candidates, a fixed order of additions decides.

Twelve users meet a panel of 32 items at a time (`catalogue`), and each user's best n + SPARE products so far are kept
in a heap. No product is ever written but the panel's own, so memory does not depend on the numbers of users and items.

Products are float32 and only choose. The kept items are scored again by `kernels.predict` (one fixed order of
additions), ordered by that score and cut to n. Nothing is lost thereby, and that is checked per user: no item outside
the kept ones can reach the n-th score unless its product, plus a bound on the rounding error of products, can. A user
who fails the check (many items tied at the cut) is scored in full. The result is therefore exactly that of scoring
every item by `predict` and sorting, ties by ascending row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys_spark.kernels.catalogue import CHUNK, NO_ITEM, PANEL, TOGETHER, Catalogue, lengths_of, panel_products
from recsys_spark.kernels.predict import pair_score

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

SPARE = 8  # kept beyond n, so that the check above rarely fails
USER_BATCH = 1536
"""Users that a chunk of the catalogue serves while it lies in the cache."""
UNIT_ROUNDOFF = 2.0**-24  # of float32


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


def search(
    catalogue: Catalogue,
    mu: float,
    user_factors: Float32s,
    user_biases: Float32s,
    n: int,
    seen: SeenItems | None = None,
    *,
    user_batch: int = USER_BATCH,
) -> tuple[Int64s, Float32s]:
    """The n best candidates of each of m users: (item rows int64 (m, n), scores float32 (m, n)), best first.

    The score is μ + b_u + c_i + p_u · q_i with the catalogue's c and q. user_factors are float32 (m, k) and
    C-contiguous, user_biases float32 (m,). Places that cannot be filled (fewer than n items left) hold row -1 and score
    NaN. Runs on one thread.

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
    lengths = lengths_of(user_factors)
    slack = _product_error(lengths, catalogue, user_factors.shape[1])
    # Users of like length need about the same panels.
    order = np.argsort(lengths, kind="stable")
    for start in range(0, users if len(catalogue.panels) else 0, user_batch):
        batch = order[start : start + user_batch]
        excluded = SeenItems(*_sorted_rows(batch, seen.indptr, seen.items, len(catalogue.factors)))
        kept, products = _select(catalogue, user_factors[batch], lengths[batch], excluded, n + SPARE)
        _finish(
            mu,
            batch,
            user_factors,
            user_biases,
            catalogue.factors,
            catalogue.biases,
            catalogue.rows,
            kept,
            products,
            slack,
            excluded.indptr,
            excluded.items,
            rows,
            scores,
        )
    return rows, scores


def _product_error(lengths: Float64s, catalogue: Catalogue, rank: int) -> Float64s:
    """Per user, a bound on |float32 product − exact product| over all items, in any order of additions.

    |fl(x·y) − x·y| ≤ γ_k Σ|x_j y_j| ≤ γ_k ‖x‖‖y‖ with γ_k = k·u/(1 − k·u) (Higham, Accuracy and Stability, §3.1).
    Factor and bias are bounded apart, as a large bias must not multiply a large factor. Doubled for safety, which also
    covers the rounding of the panels' bounds, made in float64.
    """
    width = rank + 1
    gamma = width * UNIT_ROUNDOFF / (1 - width * UNIT_ROUNDOFF)
    # The smallest normal number covers products that underflow.
    tiny = width * float(np.finfo(np.float32).tiny)
    return np.asarray(2 * gamma * (lengths * catalogue.longest + catalogue.largest) + tiny, np.float64)


def _select(
    catalogue: Catalogue, factors: Float32s, lengths: Float64s, excluded: SeenItems, keep: int
) -> tuple[Int64s, Float32s]:
    """The `keep` best items of each user of a batch by product: a heap each, (rows, products) (batch, keep)."""
    users, rank = factors.shape
    size = len(TOGETHER)
    groups = -(-users // size)
    packed = np.zeros((groups * size, rank), np.float32)
    packed[:users] = factors
    packed = np.ascontiguousarray(packed.reshape(groups, size, rank).transpose(0, 2, 1))
    kept = np.full((users, keep), NO_ITEM, np.int64)
    products = np.full((users, keep), -np.inf, np.float32)
    worst = np.full(groups * size, np.inf, np.float32)  # beyond the last user: nothing is good enough
    worst[:users] = -np.inf
    places = np.zeros(groups * size)
    with np.errstate(divide="ignore", invalid="ignore"):  # a grid of length 0 knows users of length 0 alone
        places[:users] = np.where(lengths > 0, lengths / catalogue.step, 0.0)
    _search_panels(
        packed,
        places,
        catalogue.rows,
        catalogue.panels,
        catalogue.bounds,
        catalogue.chunk_bounds,
        excluded.indptr,
        excluded.items,
        worst,
        kept,
        products,
        TOGETHER,
    )
    return kept, products


@njit(cache=True, nogil=True)
def _search_panels(
    packed: Float32s,
    places: Float64s,
    rows: Int64s,
    panels: Float32s,
    bounds: Float64s,
    chunk_bounds: Float64s,
    indptr: Int64s,
    items: Int64s,
    worst: Float32s,
    kept: Int64s,
    products: Float32s,
    together: tuple[int, ...],
) -> None:
    """Search all panels for all groups of a batch, chunk by chunk; `places` are lengths in steps of the grid."""
    size, rank = len(together), packed.shape[1]
    out, hits = np.empty((size, PANEL), np.float32), np.empty(size, np.int64)
    for chunk in range(chunk_bounds.shape[0]):
        for group in range(packed.shape[0]):
            first = group * size
            if _hopeless(chunk_bounds[chunk], places, worst, first, size):
                continue
            for panel in range(chunk * CHUNK, min((chunk + 1) * CHUNK, panels.shape[0])):
                if _hopeless(bounds[panel], places, worst, first, size):
                    continue
                if panel_products(out, hits, packed, group, panels, panel, rank, worst, first, together) == 0:
                    continue
                for member in range(size):
                    left, user = hits[member], first + member
                    lane = 0
                    while left != 0:
                        if left & 1 and out[member, lane] > worst[user]:
                            item = rows[panel * PANEL + lane]
                            if not _holds(items, indptr[user], indptr[user + 1], item):
                                _keep(kept[user], products[user], item, out[member, lane])
                                worst[user] = products[user, 0]
                        left >>= 1
                        lane += 1


@njit(cache=True, nogil=True, inline="always")
def _hopeless(bounds: Float64s, places: Float64s, worst: Float32s, first: int, size: int) -> bool:
    """Whether nothing under these bounds can beat what any user of a group has kept."""
    last = bounds.shape[0] - 1
    for user in range(first, first + size):
        place = places[user]
        if place > last:
            return False  # longer than the grid is
        low = min(int(place), last - 1)
        share = place - low
        if bounds[low] * (1.0 - share) + bounds[low + 1] * share > worst[user]:
            return False
    return True


@njit(cache=True, nogil=True, inline="always")
def _holds(items: Int64s, begin: int, end: int, item: int) -> bool:
    """Whether items[begin:end], ascending, hold an item."""
    while begin < end:
        middle = (begin + end) >> 1
        if items[middle] < item:
            begin = middle + 1
        elif items[middle] > item:
            end = middle
        else:
            return True
    return False


@njit(cache=True, nogil=True, inline="always")
def _keep(kept: Int64s, products: Float32s, item: int, product: np.float32) -> None:
    """Replace the worst of a heap, which is its first."""
    size, place = products.shape[0], 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and products[child + 1] < products[child]:
            child += 1
        if products[child] >= product:
            break
        products[place], kept[place] = products[child], kept[child]
        place = child
    products[place], kept[place] = product, item


@njit(cache=True, nogil=True)
def _sorted_rows(batch: Int64s, indptr: Int64s, items: Int64s, rows: int) -> tuple[Int64s, Int64s]:
    """The lists of a batch of users, each sorted, without entries outside 0 … rows − 1; indptr (batch + 1,)."""
    out_indptr = np.zeros(len(batch) + 1, np.int64)
    size = 0
    for user in batch:
        size += indptr[user + 1] - indptr[user]
    out = np.empty(size, np.int64)
    filled = 0
    for place in range(len(batch)):
        begin = filled
        for at in range(indptr[batch[place]], indptr[batch[place] + 1]):
            if 0 <= items[at] < rows:
                out[filled] = items[at]
                filled += 1
        out[begin:filled].sort()
        out_indptr[place + 1] = filled
    return out_indptr, out[:filled]


@njit(cache=True, nogil=True)
def _finish(
    mu: float,
    batch: Int64s,
    user_factors: Float32s,
    user_biases: Float32s,
    item_factors: Float32s,
    item_biases: Float32s,
    candidates: Int64s,
    kept: Int64s,
    products: Float32s,
    slack: Float64s,
    indptr: Int64s,
    items: Int64s,
    rows: Int64s,
    scores: Float32s,
) -> None:
    """Score the kept items of a batch in the fixed order, order and cut them into rows and scores (users, n), check."""
    n = rows.shape[1]
    for at in range(len(batch)):
        user = batch[at]
        base = np.float64(mu) + np.float64(user_biases[user])
        for place in np.argsort(-products[at]):
            item = kept[at, place]
            if item < 0:
                break
            score = pair_score(base + np.float64(item_biases[item]), user_factors[user], item_factors[item])
            _insert(item, np.float32(score), rows[user], scores[user])
        if kept[at, 0] < 0:
            continue  # every unseen item was kept
        if np.float32(base + np.float64(products[at, 0]) + slack[user]) < scores[user, n - 1]:
            continue
        rows[user, :] = NO_ITEM
        scores[user, :] = np.nan
        for item in candidates:
            if item < 0 or _holds(items, indptr[at], indptr[at + 1], item):
                continue
            score = pair_score(base + np.float64(item_biases[item]), user_factors[user], item_factors[item])
            _insert(item, np.float32(score), rows[user], scores[user])


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
