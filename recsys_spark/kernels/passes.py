"""One pass over a block's rows, a vector of them at a time: sums, right-hand sides, solution, and what is made of it.

A half-sweep stores the solutions and adds up J; passes for the projection add up its normal equations, or what
conjugate gradients need of them. All are one compiled function, since everything before that last step is the same and
is what takes long to compile. What few fits use is in functions of its own, which do not depend on the padded rank.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.gram import gram
from recsys_spark.kernels.lanewise import copy_rows, energies
from recsys_spark.kernels.machine import LANES
from recsys_spark.kernels.nonnegative import solve_nonnegative
from recsys_spark.kernels.outer import add_diagonal, add_outer, add_pull
from recsys_spark.kernels.profile import profile_rows, profiled
from recsys_spark.kernels.rows import F32, I64
from recsys_spark.kernels.solve import solve_rows
from recsys_spark.kernels.systems import KEPT, pack, right_hand_side, unpack
from recsys_spark.kernels.uncounted import uncounted
from recsys_spark.kernels.unseen import add_unseen

# Kinds of passes.
SWEEP = 0  # solve the rows
NORMAL = 1  # both sides of the projection's normal equations
GRADIENT = 2  # their right-hand side, and about the diagonal of the left
PRODUCT = 3  # their left-hand side times a direction, whose predictions are given as prior means

NO_F32_2D: F32 = np.zeros((0, 0), np.float32)
NO_I64: I64 = np.zeros((0, 0), np.int64)
NO_SUMS: I64 = np.zeros(0, np.int64)


@uncounted
def row_pass(  # type: ignore[no-untyped-def]
    kind, rows, features, means, d, other, lam, lam_bias, mu, learned, kept, rank, unseen, nonnegative, systems,
    scale, scale_right, lanes, s, bounded, factors, biases, sums, normal, right,
):  # fmt: skip
    """(first row that failed or -1, largest bias). Outputs of the other kinds of passes may be empty.

    Where ``systems`` has rows, the first pass for a projection leaves the sums of rows of many ratings there, and later
    passes find them there. ``lam`` and ``means`` are ℓ and take in u where there is a graph. All else as in
    `sweep.half_sweep` and `projection.projection_sums`.
    """
    max_bias = 0.0
    place = 0
    n = len(rows.indptr) - 1
    size = rank + 1 if learned else rank
    sweeping = kind == SWEEP
    finding = sweeping or kind == PRODUCT
    left = s.left[: size * (size + 1) // 2]
    batch = s.batch
    count = 0
    for i in range(n + 1):
        begin, end = (rows.indptr[i], rows.indptr[i + 1]) if i < n else (0, 0)
        keeping = len(systems) > 0 and end - begin >= KEPT
        wanted = begin < end and (sweeping or features.indptr[i] < features.indptr[i + 1])
        if wanted or keeping:
            s.lam[count] = lam[i]
            if keeping and finding:
                unpack(systems[place], count, lanes, s)
                place += 1
            else:
                offset = mu + (np.float64(kept[i]) if kept.size else 0.0)
                gram(begin, end, rows, other, offset, unseen, count, lanes, s)
                if unseen.weight > 0.0:
                    add_unseen(count, rank, len(lanes), offset, unseen, s)
                if keeping:
                    pack(systems[place], count, lanes, s)
                    place += 1
            if wanted:
                right_hand_side(kind != PRODUCT, count, i, means, lam_bias, rank, learned, len(lanes), s)
                batch[count] = i
                count += 1
        elif i < n and sweeping:
            for j in range(rank):
                factors[i, j] = max(means[i, j], 0.0) if nonnegative else means[i, j]
            biases[i] = means[i, rank] if learned else (kept[i] if kept.size else np.float32(0.0))
            max_bias = max(max_bias, abs(np.float64(biases[i])))
        if count == LANES or (i == n and count > 0):
            if nonnegative:
                failed = solve_nonnegative(count, lam_bias, rank, learned, len(lanes), s, bounded)
            else:
                failed = solve_rows(count, lam_bias, rank, learned, lanes, s)
            if failed >= 0:
                return batch[failed], max_bias
            if kind == NORMAL:
                profile_rows(learned, lanes, s)
            if sweeping:
                copy_rows(s.objective, s.scalars, 1)
                energies(s.objective, s.apart, s.theta, s.rhs, s.means, s.lam, rank)
            for lane in range(count):
                row = batch[lane]
                if sweeping:
                    if not _finish(lane, row, means, lam_bias, rank, learned, kept, scale, s, factors, biases, sums):
                        return row, max_bias
                    max_bias = max(max_bias, abs(np.float64(biases[row])))
                else:
                    add_pull(lane, row, features, means, lam_bias, rank, size, scale_right, s, right)
                    if kind == NORMAL:
                        profiled(lane, lam_bias, rank, learned, lanes, s)
                        add_outer(row, features, d, left, scale, normal)
                    elif kind == GRADIENT:
                        add_diagonal(lane, row, features, lam_bias, rank, size, scale, s, normal)
            count = 0
    return -1, max_bias


@njit(cache=True, nogil=True, inline="always")
def _finish(lane, i, means, lam_bias, rank, learned, kept, scale, s, factors, biases, sums):  # type: ignore[no-untyped-def]
    """Store a lane's solution and add its part of J; False where that is not finite."""
    objective, pull, pull_bias = s.objective[lane], s.apart[lane], 0.0
    for j in range(rank):
        factors[i, j] = s.theta[j, lane]
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
