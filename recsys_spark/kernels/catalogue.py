"""Items laid out for the search of `topk`: likely ones first, in panels of 32, each with a bound on what it can score.

A panel holds its items' factors column by column, so that products with twelve users at a time stay in registers: they
are compared there with each user's worst kept product, and only panels where one is better are looked at. Left to BLAS,
a product of so short rows runs at two thirds of its speed, and writing and reading every product costs as much again.

    panels[t]:  factor 0 of 32 items │ factor 1 of 32 items │ … │ factor k−1 │ biases

By Cauchy and Schwarz a user whose factors have length τ cannot score an item above c + τ‖q‖. The largest of these over
a panel is a convex function of τ, so the chord between two grid points lies above it: a panel, or a chunk of them, is
skipped where that is not enough for any of the twelve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recsys_spark.kernels.machine import WIDE
from recsys_spark.kernels.tile import PIECE, Pointer, constant, fma, require

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

PANEL = 2 * PIECE
CHUNK = 64
"""Panels that are searched for all users of a batch before the next: at rank 32, a quarter of a megabyte."""
GRID = 17
NO_ITEM = -1
# Two accumulators a user, two vectors of the panel and one factor fit the registers: 32 of AVX-512, 16 elsewhere.
TOGETHER = (0,) * (12 if WIDE else 3)


class Catalogue(NamedTuple):
    """The candidates of a search, and the numbers by which they are ordered.

    factors: float32 (items, k), C-contiguous.  biases: float32 (items,).  Both of all items, whatever the candidates.
    rows: int64 (32 panels,), the item in each place, -1 in places that fill the last panels.
    panels: float32 (panels, k + 1, 32).
    bounds: float64 (panels, GRID), most that any item of the panel can score at lengths step·(0, 1, …, GRID − 1);
        chunk_bounds: likewise of CHUNK panels.
    step: of the grid of lengths, 0 where every length was 0.  longest, largest: maxima of ‖q‖ and |c|.
    """

    factors: Float32s
    biases: Float32s
    rows: Int64s
    panels: Float32s
    bounds: Float64s
    chunk_bounds: Float64s
    step: float
    longest: float
    largest: float

    @classmethod
    def of(cls, factors: Float32s, biases: Float32s, lengths: Float64s, candidates: Int64s | None = None) -> Catalogue:
        """Lay out all items, or the `candidates` (distinct rows), for users of such `lengths` (see `lengths_of`).

        A user who is longer than all of these is served as well, without any skipping.
        """
        chosen = np.arange(len(factors)) if candidates is None else np.asarray(candidates, np.int64)
        norms, offsets = lengths_of(factors)[chosen], biases[chosen].astype(np.float64)
        typical = float(np.sqrt(np.mean(lengths**2))) if len(lengths) else 0.0
        likely = np.argsort(-(offsets + typical * norms), kind="stable")
        chosen, norms, offsets = chosen[likely], norms[likely], offsets[likely]
        panels = -(-len(chosen) // PANEL)
        rows = np.full(panels * PANEL, NO_ITEM, np.int64)
        rows[: len(chosen)] = chosen
        packed = np.zeros((panels * PANEL, factors.shape[1] + 1), np.float32)
        packed[:, -1] = -np.inf  # in empty places: better than nothing
        packed[: len(chosen), :-1], packed[: len(chosen), -1] = factors[chosen], biases[chosen]
        packed = packed.reshape(panels, PANEL, packed.shape[1]).transpose(0, 2, 1)
        step = float(np.max(lengths, initial=0.0)) / (GRID - 1)
        bounds = np.full((panels * PANEL, GRID), -np.inf)
        bounds[: len(chosen)] = offsets[:, None] + norms[:, None] * (step * np.arange(GRID))
        bounds = bounds.reshape(panels, PANEL, GRID).max(axis=1)
        chunks = np.arange(0, panels, CHUNK)
        return cls(
            factors,
            biases,
            rows,
            np.ascontiguousarray(packed),
            bounds,
            np.maximum.reduceat(bounds, chunks, axis=0) if panels else bounds,
            step,
            float(np.max(norms, initial=0.0)),
            float(np.max(np.abs(offsets), initial=0.0)),
        )


def lengths_of(factors: Float32s) -> Float64s:
    """‖row‖ of float32 (n, k), in float64."""
    return np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64))


@intrinsic
def panel_products(
    typing: Any, out: Any, hits: Any, users: Any, group: Any, panels: Any, panel: Any, rank: Any, worst: Any,
    first: Any, together: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """Products of a group of users with a panel, and which of them beat the worst kept ones, ``worst[first:]``.

    users: float32 (groups, k, R), R = len(together).  panels: float32 (panels, k + 1, 32).  worst: float32.
    Overwrites out, float32 (R, 32): c + Σ_j p_j q_j, one fused multiply-add after the other, j ascending; and hits,
    int64 (R,): bit l is set where item l is better. Returns the hits of all users, or-ed.
    """
    require(types.float32, out, users, panels, worst)
    require(types.int64, hits)
    size = len(together)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, u, q, w = (Pointer(context, builder, signature.args[n], args[n]) for n in (0, 2, 4, 7))
        h = context.make_array(signature.args[1])(context, builder, args[1]).data
        k = args[6]
        begin = builder.mul(args[5], builder.mul(builder.add(k, constant(1)), constant(PANEL)))
        biases = builder.add(begin, builder.mul(k, constant(PANEL)))
        starts = [q.vector(builder.add(biases, constant(c * PIECE))) for c in range(2)]
        sums = [[cgutils.alloca_once_value(builder, start) for start in starts] for _ in range(size)]
        mine = builder.mul(args[3], builder.mul(k, constant(size)))
        with cgutils.for_range(builder, k) as loop:
            at = builder.add(begin, builder.mul(loop.index, constant(PANEL)))
            column = [q.vector(builder.add(at, constant(c * PIECE))) for c in range(2)]
            factors = builder.add(mine, builder.mul(loop.index, constant(size)))
            for r in range(size):
                factor = u.scalar(builder.add(factors, constant(r)))
                for c in range(2):
                    builder.store(fma(builder, factor, column[c], builder.load(sums[r][c])), sums[r][c])
        anyone = constant(0)
        for r in range(size):
            bar = w.scalar(builder.add(args[8], constant(r)))
            mask = constant(0)
            for c in range(2):
                product = builder.load(sums[r][c])
                o.store(product, constant(r * PANEL + c * PIECE))
                better = builder.bitcast(builder.fcmp_ordered(">", product, bar), ir.IntType(PIECE))
                mask = builder.or_(mask, builder.shl(builder.zext(better, ir.IntType(64)), constant(c * PIECE)))
            builder.store(mask, builder.gep(h, [constant(r)]))
            anyone = builder.or_(anyone, mask)
        return anyone

    kinds = (
        out, hits, users, types.int64, panels, types.int64, types.int64, worst, types.int64, together,
    )  # fmt: skip
    return types.int64(*kinds), codegen
