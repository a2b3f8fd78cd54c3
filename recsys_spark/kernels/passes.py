"""One pass over a block's rows, sixteen at a time: sums, right-hand sides, solution, and what is made of it.

A half-sweep stores the solutions and adds up J; a pass for the projection adds up its normal equations. Both are one
compiled function, since everything before that last step is the same and is what takes long to compile.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.gram import gram
from recsys_spark.kernels.profile import invert, profiled
from recsys_spark.kernels.rows import F32, I64
from recsys_spark.kernels.solve import solve_rows
from recsys_spark.kernels.systems import KEPT, pack, right_hand_side, unpack
from recsys_spark.kernels.tile import LANES

NO_F32_2D: F32 = np.zeros((0, 0), np.float32)
NO_I64: I64 = np.zeros((0, 0), np.int64)
NO_SUMS: I64 = np.zeros(0, np.int64)


@njit(cache=True, nogil=True)
def row_pass(  # type: ignore[no-untyped-def]
    projecting, rows, features, means, d, other, lam, lam_bias, mu, learned, kept, rank, unseen, systems,
    scale, scale_right, lanes, s, factors, biases, sums, normal, right,
):  # fmt: skip
    """(first row that failed or -1, largest bias). Outputs of the other kind of pass may be empty.

    Where ``systems`` has rows, a projecting pass leaves the sums of rows of many ratings there, and a half-sweep finds
    them there. All else as in `sweep.half_sweep` and `projection.projection_sums`.
    """
    max_bias = 0.0
    place = 0
    n = len(rows.indptr) - 1
    size = rank + 1 if learned else rank
    left = np.zeros(size * (size + 1) // 2, np.float64)
    batch = np.zeros(LANES, np.int64)  # the rows in the lanes
    count = 0
    for i in range(n + 1):
        begin, end = (rows.indptr[i], rows.indptr[i + 1]) if i < n else (0, 0)
        keeping = len(systems) > 0 and end - begin >= KEPT
        wanted = begin < end and (not projecting or features.indptr[i] < features.indptr[i + 1])
        if wanted or keeping:
            s.lam[count] = lam[i]
            if keeping and not projecting:
                unpack(systems[place], count, lanes, s)
                place += 1
            else:
                fixed = np.float64(kept[i]) if kept.size else 0.0
                gram(begin, end, rows, other, mu + fixed, unseen, count, lanes, s)
                if keeping:
                    pack(systems[place], count, lanes, s)
                    place += 1
            if wanted:
                right_hand_side(count, i, means, lam_bias, rank, learned, len(lanes), s)
                batch[count] = i
                count += 1
        elif i < n and not projecting:
            for j in range(rank):
                factors[i, j] = means[i, j]
            biases[i] = means[i, rank] if learned else (kept[i] if kept.size else np.float32(0.0))
            max_bias = max(max_bias, abs(np.float64(biases[i])))
        if count == LANES or (i == n and count > 0):
            failed = solve_rows(count, lam_bias, rank, learned, lanes, s)
            if failed >= 0:
                return batch[failed], max_bias
            if projecting:
                invert(lanes, s)
            for lane in range(count):
                row = batch[lane]
                if projecting:
                    profiled(lane, lam_bias, rank, learned, lanes, s, left)
                    _spread(
                        lane, row, features, means, d, lam_bias, rank, size, left, scale, scale_right, s, normal, right
                    )
                else:
                    if not _finish(lane, row, means, lam_bias, rank, learned, kept, scale, s, factors, biases, sums):
                        return row, max_bias
                    max_bias = max(max_bias, abs(np.float64(biases[row])))
            count = 0
    return -1, max_bias


@njit(cache=True, nogil=True, inline="always")
def _finish(lane, i, means, lam_bias, rank, learned, kept, scale, s, factors, biases, sums):  # type: ignore[no-untyped-def]
    """Store a lane's solution and add its part of J; False where that is not finite."""
    objective = s.scalars[0, lane]
    pull = 0.0
    for j in range(rank):
        theta, mean = s.theta[j, lane], means[i, j]
        objective += s.lam[lane] * mean * mean - theta * s.rhs[j, lane]
        pull += s.lam[lane] * (theta - mean) * (theta - mean)
        factors[i, j] = theta
    pull_bias = 0.0
    if learned:
        theta, mean = s.theta[rank, lane], means[i, rank]
        objective += lam_bias * mean * mean - theta * s.rhs[rank, lane]
        pull_bias = lam_bias * (theta - mean) * (theta - mean)
        biases[i] = theta
    else:
        biases[i] = kept[i] if kept.size else np.float32(0.0)
    if not np.isfinite(objective + pull + pull_bias):
        return False
    sums[0] += on_grid(max(objective - pull - pull_bias, 0.0), scale)
    sums[1] += on_grid(pull, scale)
    sums[2] += on_grid(pull_bias, scale)
    return True


@njit(cache=True, nogil=True, inline="always")
def _spread(lane, i, features, means, d, lam_bias, rank, size, left, scale, scale_right, s, normal, right):  # type: ignore[no-untyped-def]
    """Add a row's part to both sums of the projection, for each of its features and pair of them."""
    for p in range(features.indptr[i], features.indptr[i + 1]):
        fa = features.cols[p]
        xa = np.float64(features.values[p])
        for j in range(size):
            precision = s.lam[lane] if j < rank else lam_bias
            right[fa, j] += on_grid(xa * (precision * (s.theta[j, lane] - means[i, j])), scale_right)
        for q in range(p, features.indptr[i + 1]):
            fb = features.cols[q]
            total = normal[fa * d - fa * (fa - 1) // 2 + fb - fa]
            factor = xa * features.values[q]
            for at in range(len(left)):
                total[at] += np.int64(np.rint(factor * left[at] * scale))
