"""What the prior means still feel once rows are solved for: M = Λ - Λ (A + Λ)⁻¹ Λ, from the last factorisation.

In blocks, with B = A'⁻¹, t = B s and the Schur complement σ of the corner (`kernels.solve`):
    (A + Λ)⁻¹ = [[B + t tᵀ / σ, -t / σ], [-tᵀ / σ, 1 / σ]].
"""

from __future__ import annotations

from numba import njit

from recsys_spark.kernels.dense import profiled_precision
from recsys_spark.kernels.gram import NONE, ONE
from recsys_spark.kernels.lanes import BLOCK, from_lanes, inverse_block, square_block
from recsys_spark.kernels.lanewise import precisions
from recsys_spark.kernels.machine import LANES
from recsys_spark.kernels.scratch import Scratch
from recsys_spark.kernels.solve import solve_wide
from recsys_spark.kernels.tile import put


@njit(cache=True, nogil=True, inline="always")
def profile_rows(learned: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """M of the factors of all lanes, upper triangles, into ``profiles``, after `solve_rows`; ``a`` is overwritten."""
    kk = len(lanes)
    for i in range(0, kk, BLOCK):
        for j in range(0, i, BLOCK):
            inverse_block(s.u, s.t, s.pivots, i, j, NONE, lanes)
        inverse_block(s.u, s.t, s.pivots, i, i, ONE, lanes)
    for j in range(0, kk, BLOCK):
        for i in range(0, j + 1, BLOCK):
            square_block(s.a, s.t, i, j, lanes)
    for lane in range(LANES):
        s.coupling[lane] = s.lam[lane] * s.lam[lane] / s.corner[lane] if learned else 0.0
    precisions(s.a, s.lam, s.border, s.coupling, lanes)
    for j in range(0, kk, LANES):
        for i in range(j + LANES):
            from_lanes(s.profiles, i, j, s.a, lanes)


@njit(cache=True, nogil=True, inline="always")
def profiled(lane: int, lam_bias: float, rank: int, learned: bool, lanes: tuple[int, ...], s: Scratch) -> None:
    """Upper triangle of a lane's M by rows, into ``left``, after `profile_rows`."""
    out = s.left
    size = rank + 1 if learned else rank
    lam = s.lam[lane]
    at = 0
    if s.bad[0, lane] != 0.0:
        solve_wide(lane, lam_bias, rank, learned, len(lanes), s)
        profiled_precision(s.system, size, lam, lam_bias, rank, s.inner, s.outer)
        for a in range(size):
            for b in range(a, size):
                out[at + b - a] = s.outer[a, b]
            at += size - a
        return
    for a in range(rank):
        put(out, at, s.profiles[lane, a], a, rank - a)
        at += rank - a
        if learned:
            out[at] = lam_bias * lam * s.border[a, lane] / s.corner[lane]
            at += 1
    if learned:
        out[at] = lam_bias - lam_bias * lam_bias / s.corner[lane]
