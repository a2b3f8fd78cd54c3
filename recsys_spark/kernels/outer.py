"""What a row adds to the projection's sums, in units of a grid (`kernels.exact`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from recsys_spark.kernels.exact import on_grid
from recsys_spark.kernels.tile import constant, doubles, lanewise, require, splat

EIGHT = 8
# Added to a float64 of at most 2⁵¹, its last bit is worth 1: the sum is rounded to integers, ties to even, and its
# bits count them. Processors without AVX-512 have no vector instruction that turns float64 into int64.
LARGEST = 2.0**51
SHIFT = 3.0 * LARGEST
SHIFT_BITS = int(np.float64(SHIFT).view(np.int64))


@intrinsic
def add_on_grid(typing: Any, total: Any, left: Any, factor: Any, scale: Any) -> tuple[Any, Callable[..., Any]]:
    """total[j] += `on_grid`(factor left[j], scale), total int64 and left float64, eight j at a time.

    Returns how many were done: the length of ``left`` but for less than eight, which are the caller's.
    """
    require(types.int64, total)
    require(types.float64, left)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        sums, numbers = (context.make_array(signature.args[n])(context, builder, args[n]) for n in range(2))
        wide, integers = doubles(EIGHT), ir.VectorType(ir.IntType(64), EIGHT)
        by, grid = (splat(builder, args[n], wide) for n in (2, 3))
        done = builder.and_(numbers.nitems, constant(-EIGHT))
        found = cgutils.alloca_once(builder, integers)
        with cgutils.for_range_slice(builder, constant(0), done, constant(EIGHT)) as (at, _):
            source, to = (builder.gep(array.data, [at]) for array in (numbers, sums))
            product = builder.fmul(by, builder.load(builder.bitcast(source, wide.as_pointer()), align=8))
            value = builder.fmul(product, grid)
            shifted = builder.fadd(value, ir.Constant(wide, [SHIFT] * EIGHT))
            moved = builder.sub(builder.bitcast(shifted, integers), ir.Constant(integers, [SHIFT_BITS] * EIGHT))
            builder.store(moved, found)
            size = lanewise(builder, "fabs", value)
            large = builder.fcmp_unordered(">", size, ir.Constant(wide, [LARGEST] * EIGHT))
            some = builder.icmp_unsigned("!=", builder.bitcast(large, ir.IntType(EIGHT)), constant(0, EIGHT))
            with builder.if_then(some, likely=False):
                builder.store(builder.fptosi(lanewise(builder, "rint", value), integers), found)
            place = builder.bitcast(to, integers.as_pointer())
            builder.store(builder.add(builder.load(place, align=8), builder.load(found)), place, align=8)
        return done

    return types.int64(total, left, types.float64, types.float64), codegen


@njit(cache=True, nogil=True, inline="always")
def add_pull(lane, i, features, means, lam_bias, rank, size, scale, s, right):  # type: ignore[no-untyped-def]
    """Add x_i ⊗ Λ_i (θ_i - m_i) for each of a row's features."""
    for p in range(features.indptr[i], features.indptr[i + 1]):
        f = features.cols[p]
        x = np.float64(features.values[p])
        for j in range(size):
            precision = s.lam[lane] if j < rank else lam_bias
            right[f, j] += on_grid(x * (precision * (s.theta[j, lane] - means[i, j])), scale)


@njit(cache=True, nogil=True, inline="always")
def add_outer(i, features, d, left, scale, normal):  # type: ignore[no-untyped-def]
    """Add x_i x_iᵀ ⊗ M_i for each pair of a row's features."""
    for p in range(features.indptr[i], features.indptr[i + 1]):
        fa = features.cols[p]
        xa = np.float64(features.values[p])
        for q in range(p, features.indptr[i + 1]):
            fb = features.cols[q]
            total = normal[fa * d - fa * (fa - 1) // 2 + fb - fa]
            factor = xa * features.values[q]
            for at in range(add_on_grid(total, left, factor, scale), len(left)):
                total[at] += on_grid(factor * left[at], scale)


@njit(cache=True, nogil=True)
def add_diagonal(lane, i, features, lam_bias, rank, size, scale, s, diagonal):  # type: ignore[no-untyped-def]
    """Add x_i² Λ A / (Λ + A) of the diagonals alone: about M's, and costs no inverse."""
    for p in range(features.indptr[i], features.indptr[i + 1]):
        f = features.cols[p]
        x = np.float64(features.values[p])
        for j in range(size):
            precision = s.lam[lane] if j < rank else lam_bias
            a = np.float64(s.grams[lane, j, j]) if j < rank else s.scalars[1, lane]
            if precision > 0.0 and a > 0.0:
                diagonal[f, j] += on_grid(x * x * (precision * a / (precision + a)), scale)
