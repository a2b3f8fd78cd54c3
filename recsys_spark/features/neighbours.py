"""Nearest rows by cosine similarity, exactly; NumPy and SciPy only, from arrays to arrays.

Rows with the same features have the same neighbours, but for themselves. So similarities are computed between
*distinct* unit vectors, of which genres and years have a tenth as many as films:

    >>> x = Sparse(np.array([0, 1, 2, 2, 3, 4]), np.array([0, 0, 1, 1], np.int32), np.ones(4, np.float32), 2)
    >>> vectors = distinct_vectors(x)  # rows 0, 1: e_0; row 2: no features; rows 3, 4: e_1
    >>> vectors.starts, vectors.members
    (array([0, 2, 4]), array([0, 1, 3, 4]))
    >>> nearest(vectors, 0, 2, top_k=1, min_similarity=0.5)
    Edges(rows=array([0, 1, 3, 4]), neighbours=array([1, 0, 4, 3]), similarity=array([1., 1., 1., 1.], dtype=float32))

A similarity is summed in float64 over the features in ascending order and rounded to float32 once; neighbours are
ranked by it; of equally near ones those that follow the row come first, in ascending order, then those from the first
row on. (Were it the lowest rows, some film would be a neighbour of all 2,300 dramas of its years, and no other one of
any.) Which vectors are taken together changes no bit where features are sparse; for
dense ones BLAS may depend on it, so callers use the fixed grid of :func:`chunks`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

_CELLS = 1 << 22  # similarities held at a time: 32 MB in float64
_ROWS = 1 << 40  # more than there are rows
_DENSE = 0.25  # share of entries from which a dense product is the faster one


class Sparse(NamedTuple):
    """A sparse matrix (n, width): row r has the entries ``indptr[r]:indptr[r + 1]``, columns ascending."""

    indptr: Int64s
    indices: npt.NDArray[np.int32]
    values: Float32s
    width: int


class Vectors(NamedTuple):
    """Distinct unit vectors, and the rows that have each: those of vector v are members[starts[v]:starts[v + 1]]."""

    matrix: Sparse  # (m, width)
    starts: Int64s  # (m + 1,)
    members: Int64s  # ascending within a vector; rows without features are in none

    @property
    def number(self) -> int:
        """Number of distinct vectors, m."""
        return len(self.starts) - 1


class Edges(NamedTuple):
    """Directed edges: three arrays of one length."""

    rows: Int64s
    neighbours: Int64s
    similarity: Float32s


def chosen_columns(x: Sparse, chosen: npt.NDArray[np.bool_]) -> Sparse:
    """The matrix without the entries of columns that are not ``chosen`` (width,); columns keep their numbers."""
    kept = chosen[x.indices] & (x.values != 0)
    ends = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    return Sparse(ends[x.indptr], x.indices[kept], x.values[kept], x.width)


def distinct_vectors(x: Sparse) -> Vectors:
    """Rows scaled to length 1, equal ones together, in the order of their first row; rows without entries left out."""
    values = x.values.astype(np.float64)
    owner = np.repeat(np.arange(len(x.indptr) - 1), np.diff(x.indptr))
    norms = np.sqrt(np.bincount(owner, values * values, len(x.indptr) - 1))
    unit = (values / norms[owner]).astype(np.float32)
    first: dict[bytes, int] = {}
    of_row = np.full(len(x.indptr) - 1, -1, np.int64)
    for row, (begin, end) in enumerate(zip(x.indptr[:-1].tolist(), x.indptr[1:].tolist(), strict=True)):
        if begin < end:
            of_row[row] = first.setdefault(x.indices[begin:end].tobytes() + unit[begin:end].tobytes(), len(first))
    rows = np.flatnonzero(of_row >= 0)
    members = rows[np.argsort(of_row[rows], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(of_row[rows], minlength=len(first)), dtype=np.int64)])
    lone = members[starts[:-1]]
    entries = _ragged(x.indptr[lone], x.indptr[lone + 1] - x.indptr[lone])
    indptr = np.concatenate([[0], np.cumsum(x.indptr[lone + 1] - x.indptr[lone], dtype=np.int64)])
    return Vectors(Sparse(indptr, x.indices[entries], unit[entries], x.width), starts, members)


def chunks(vectors: Vectors) -> list[tuple[int, int]]:
    """Ranges of vectors to pass to :func:`nearest`, the same for the same vectors."""
    step = max(1, _CELLS // max(1, vectors.number))
    return [(low, min(low + step, vectors.number)) for low in range(0, vectors.number, step)]


def nearest(vectors: Vectors, low: int, high: int, top_k: int, min_similarity: float) -> Edges:
    """The nearest rows of each row that has one of the vectors low:high.

    Parameters
    ----------
    top_k : most neighbours of a row; the row itself is none
    min_similarity : least similarity of a neighbour; one of 0 or less is never a neighbour

    Returns
    -------
    Edges
        At most top_k a row. Memory: (high - low) m similarities, the edges, and the rows tied at a vector's cut.
    """
    near = _near_vectors(vectors, low, high, top_k + 1, min_similarity)
    rows = vectors.members[vectors.starts[low] : vectors.starts[high]]
    owner = np.repeat(np.arange(high - low), np.diff(vectors.starts[low : high + 1]))

    # Rows nearer than the cut: all of them, the row itself left out.
    sure = _rows_of(vectors, near, near.similarity > near.cut[near.owner])
    listed = np.bincount(sure.owner, minlength=high - low)
    lengths = listed[owner]
    at = _ragged((np.cumsum(listed) - listed)[owner], lengths)
    row = np.repeat(rows, lengths)
    other = sure.rows[at] != row
    first = Edges(row[other], sure.rows[at][other], sure.similarity[at][other])

    # Rows at the cut: as many as are missing, from the row's own place on and round.
    tied = _rows_of(vectors, near, near.similarity == near.cut[near.owner])
    order = np.lexsort((tied.rows, tied.owner))
    key = (tied.owner * _ROWS + tied.rows)[order]
    pool = np.bincount(tied.owner, minlength=high - low)
    begins = (np.cumsum(pool) - pool)[owner]
    own = near.cut[owner] == 1.0  # a vector is among the nearest to itself
    missing = np.maximum(top_k - (lengths - ~own), 0)
    taken = np.minimum(missing, pool[owner] - own)
    place = np.searchsorted(key, owner * _ROWS + rows, side="right") - begins
    turn = _ragged(place, taken)
    size = np.repeat(pool[owner], taken)
    at = order[np.repeat(begins, taken) + turn % np.maximum(size, 1)]
    return Edges(
        np.concatenate([first.rows, np.repeat(rows, taken)]),
        np.concatenate([first.neighbours, tied.rows[at]]),
        np.concatenate([first.similarity, tied.similarity[at]]),
    )


class _Near(NamedTuple):
    """Vectors near to each of a range, by owner and descending similarity."""

    owner: Int64s  # number in the range
    vector: Int64s
    similarity: Float32s
    cut: Float32s  # of each owner: similarity at which its rows become more than enough


class _NearRows(NamedTuple):
    owner: Int64s
    rows: Int64s
    similarity: Float32s


def _near_vectors(vectors: Vectors, low: int, high: int, need: int, min_similarity: float) -> _Near:
    """The vectors that hold each vector's ``need`` nearest rows, and all that are as near as the last of those.

    Its own vector is among them. As many vectors as rows are needed hold enough of them.
    """
    scores = _similarities(vectors.matrix, low, high)
    place = vectors.number - min(need, vectors.number)
    threshold = np.partition(scores, place, axis=1)[:, place]
    threshold = np.maximum(threshold, max(np.float32(min_similarity), np.finfo(np.float32).tiny))
    owner, vector = np.nonzero(scores >= threshold[:, None])
    s = scores[owner, vector]
    order = np.lexsort((-s, owner))
    owner, vector, s = owner[order], vector[order], s[order]
    sizes = np.diff(vectors.starts)[vector]
    before = np.cumsum(sizes) - sizes
    begin = np.searchsorted(owner, np.arange(high - low))
    before -= before[begin[owner]]  # rows of the owner's nearer vectors
    cut = np.full(high - low, np.inf, np.float32)
    np.minimum.at(cut, owner[before < need], s[before < need])
    kept = s >= cut[owner]
    return _Near(owner[kept], vector[kept], s[kept], cut)


def _rows_of(vectors: Vectors, near: _Near, chosen: npt.NDArray[np.bool_]) -> _NearRows:
    """The rows that have the chosen vectors, by owner."""
    vector = near.vector[chosen]
    sizes = np.diff(vectors.starts)[vector]
    rows = vectors.members[_ragged(vectors.starts[vector], sizes)]
    return _NearRows(np.repeat(near.owner[chosen], sizes), rows, np.repeat(near.similarity[chosen], sizes))


def _similarities(x: Sparse, low: int, high: int) -> Float32s:
    """Cosines of vectors low:high with all: float32 (high - low, m), at most 1, and 1 of a vector with itself."""
    m = len(x.indptr) - 1
    matrix = csr_array((x.values.astype(np.float64), x.indices, x.indptr), shape=(m, x.width))
    part = np.ascontiguousarray(matrix[low:high].toarray().T)
    if matrix.nnz > _DENSE * m * x.width:
        with threadpool_limits(limits=1, user_api="blas"):
            product = matrix.toarray() @ part
    else:
        product = matrix @ part
    scores = np.ascontiguousarray(np.minimum(product, 1.0).T, np.float32)
    scores[np.arange(high - low), np.arange(low, high)] = 1.0
    return scores


def _ragged(begins: Int64s, lengths: Int64s) -> Int64s:
    """begins[0], begins[0] + 1, … (lengths[0] of them), begins[1], …"""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) + np.repeat(begins - (ends - lengths), lengths)
