"""Small systems, one in each lane of a vector: Cholesky, substitution, residual, as LLVM vector code.

A single row's factorisation waits for its pivots, one after another; rows in a vector wait together. Every lane does
the same operations in the same order whatever stands in the others, so a row's bits do not depend on its company.

Arrays have L = `machine.LANES` lanes as their last axis. Matrices are (K, K + 4, L): the upper triangle of A + Λ, and
in columns K and K + 1 right-hand sides that the factorisation solves on its way. ``lanes`` is the tuple of length K.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from recsys_spark.kernels.machine import LANES, WIDE
from recsys_spark.kernels.tile import Pointer, constant, doubles, floats, fma, require, splat, sqrt, stride

FLOATS, WIDES = floats(LANES), doubles(LANES)
BLOCK = 4
AT_ONCE = BLOCK if WIDE else 2  # columns of a block whose sums fit the registers
EXTRA = 4  # columns beside the triangle
_Entries = dict[tuple[int, int], ir.Value]  # of a block, by row and column in it
_Factors = tuple[list[ir.Value], list[ir.Value]]  # a vector for each of its rows, and for each of its columns
_EVERY = [(m, n) for m in range(BLOCK) for n in range(BLOCK)]
SMALL = 1e-5  # pivots this small against their diagonal are left to float64


def _place(builder: ir.IRBuilder, lanes: Any, row: ir.Value, col: ir.Value) -> ir.Value:
    """Where entry (row, col) of a (K, K + 4, L) matrix begins."""
    return builder.mul(builder.add(builder.mul(row, constant(len(lanes) + EXTRA)), col), constant(LANES))


@intrinsic
def to_lanes(
    typing: Any, out: Any, base: Any, step: Any, source: Any, i: Any, j: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """out.flat[base + t step : + L] = source[:, i, j + t] for t < L: pieces of a row of L matrices, transposed."""
    require(types.float32, out, source)
    row = stride(len(lanes))
    matrix = (len(lanes) + 2) * row

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, s = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in (0, 3))
        at = builder.add(builder.mul(args[4], constant(row)), args[5])
        rows = [s.vector(builder.add(at, constant(lane * matrix))) for lane in range(LANES)]
        for t, moved in enumerate(_transposed(builder, rows)):
            o.store(moved, builder.add(args[1], builder.mul(args[2], constant(t))))
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int64, source, types.int64, types.int64, lanes), codegen


@intrinsic
def from_lanes(typing: Any, out: Any, i: Any, j: Any, source: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """out[:, i, j + t] = source[i, j + t] for t < L: the way back of a piece of a row of L matrices."""
    require(types.float32, out, source)
    row = stride(len(lanes))
    matrix = (len(lanes) + 2) * row

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, s = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in (0, 3))
        at = _place(builder, lanes, args[1], args[2])
        rows = [s.vector(builder.add(at, constant(t * LANES))) for t in range(LANES)]
        to = builder.add(builder.mul(args[1], constant(row)), args[2])
        for lane, moved in enumerate(_transposed(builder, rows)):
            o.store(moved, builder.add(to, constant(lane * matrix)))
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int64, source, lanes), codegen


def _transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    for step in (1 << bit for bit in range(LANES.bit_length() - 1)):
        low = [e if not e & step else LANES + e - step for e in range(LANES)]
        high = [e + step if not e & step else LANES + e for e in range(LANES)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), mask) for mask in (low, high)]
        turned = list(rows)
        for r in range(LANES):
            if not r & step:
                turned[r], turned[r + step] = (
                    builder.shuffle_vector(rows[r], rows[r + step], mask) for mask in masks
                )  # fmt: skip
        rows = turned
    return rows


def _block(builder: ir.IRBuilder, row: ir.Value, col: ir.Value) -> tuple[list[ir.Value], list[ir.Value]]:
    """The rows and columns of the block that begins at (row, col)."""
    rows, cols = ([builder.add(first, constant(m)) for m in range(BLOCK)] for first in (row, col))
    return rows, cols


def _summed(
    builder: ir.IRBuilder, begun: _Entries, begin: ir.Value, end: ir.Value, factors: Callable[[ir.Value], _Factors]
) -> _Entries:
    """begun[m, n] + Σ_{begin ≤ r < end} left[m] right[n], with (left, right) = factors(r); sums held in registers."""
    sums = {at: cgutils.alloca_once_value(builder, value) for at, value in begun.items()}
    for first in range(0, BLOCK, AT_ONCE):
        with cgutils.for_range(builder, end, start=begin) as loop:
            left, right = factors(loop.index)
            for (m, n), total in sums.items():
                if first <= n < first + AT_ONCE:
                    builder.store(fma(builder, left[m], right[n], builder.load(total)), total)
    return {at: builder.load(total) for at, total in sums.items()}


@intrinsic
def factor_block(
    typing: Any, a: Any, u: Any, pivots: Any, bad: Any, i: Any, j: Any, diagonal: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """Rows i:i+4, columns j:j+4 of U with UᵀU = a, once all rows before i are there (and the block (i, i)).

    ``diagonal`` has length one where j = i: 1 / U_cc then go to ``pivots`` (K, L), and lanes whose pivot is not above
    `SMALL` of its diagonal entry are marked in ``bad`` (1, L).
    """
    require(types.float32, a, u, pivots, bad)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source, factor, inverse, flags = (
            Pointer(context, builder, signature.args[n], args[n], LANES) for n in range(4)
        )
        row, col = args[4], args[5]

        place = partial(_place, builder, lanes)
        rows, cols = _block(builder, row, col)
        wanted = [(m, n) for m, n in _EVERY if not len(diagonal) or n >= m]
        begun = {(m, n): source.vector(place(rows[m], cols[n])) for m, n in wanted}

        def factors_of(before: ir.Value) -> _Factors:
            left = [builder.fneg(factor.vector(place(before, r))) for r in rows]
            return left, [factor.vector(place(before, c)) for c in cols]

        value = _summed(builder, begun, constant(0), row, factors_of)
        for c in range(BLOCK):
            if len(diagonal):
                pivot = value[c, c]
                least = builder.fmul(begun[c, c], splat(builder, ir.Constant(ir.FloatType(), SMALL), FLOATS))
                fine = builder.fcmp_ordered(">", pivot, least)
                finite = builder.fcmp_ordered("<", pivot, splat(builder, ir.Constant(ir.FloatType(), 3e38), FLOATS))
                fine = builder.and_(fine, finite)
                one = splat(builder, ir.Constant(ir.FloatType(), 1.0), FLOATS)
                flags.store(builder.select(fine, flags.vector(constant(0)), one), constant(0))
                root = sqrt(builder, pivot)
                scale = builder.select(fine, builder.fdiv(one, root), one)
                inverse.store(scale, builder.mul(rows[c], constant(LANES)))
                own = {n: builder.fmul(value[c, n], scale) for n in range(c, BLOCK)}
                factors = {r: own[r] for r in range(c + 1, BLOCK)}
            else:
                scale = inverse.vector(builder.mul(rows[c], constant(LANES)))
                own = {n: builder.fmul(value[c, n], scale) for n in range(BLOCK)}
                factors = {r: factor.vector(place(rows[c], rows[r])) for r in range(c + 1, BLOCK)}
            for n, entry in own.items():
                factor.store(entry, place(rows[c], cols[n]))
            for r, f in factors.items():
                for n in own:
                    if (r, n) in value:
                        value[r, n] = fma(builder, builder.fneg(f), own[n], value[r, n])
        return context.get_dummy_value()

    return types.void(a, u, pivots, bad, types.int64, types.int64, diagonal, lanes), codegen


@intrinsic
def inverse_block(
    typing: Any, u: Any, t: Any, pivots: Any, i: Any, j: Any, diagonal: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """Rows i:i+4, columns j:j+4 (j ≤ i) of T = U⁻ᵀ, lower triangular, once all rows before i are there."""
    require(types.float32, u, t, pivots)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        factor, out, inverse = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in range(3))
        row, col = args[3], args[4]

        place = partial(_place, builder, lanes)
        rows, cols = _block(builder, row, col)
        zero, one = (splat(builder, ir.Constant(ir.FloatType(), x), FLOATS) for x in (0.0, 1.0))

        def factors_of(before: ir.Value) -> _Factors:
            left = [builder.fneg(factor.vector(place(before, r))) for r in rows]
            return left, [out.vector(place(before, c)) for c in cols]

        if len(diagonal):
            value = {(m, n): one if m == n else zero for m, n in _EVERY}
        else:
            value = _summed(builder, dict.fromkeys(_EVERY, zero), col, row, factors_of)
        for c in range(BLOCK):
            scale = inverse.vector(builder.mul(rows[c], constant(LANES)))
            for n in range(BLOCK):
                value[c, n] = builder.fmul(value[c, n], scale)
                out.store(value[c, n], place(rows[c], cols[n]))
            for r in range(c + 1, BLOCK):
                f = builder.fneg(factor.vector(place(rows[c], rows[r])))
                for n in range(BLOCK):
                    value[r, n] = fma(builder, f, value[c, n], value[r, n])
        return context.get_dummy_value()

    return types.void(u, t, pivots, types.int64, types.int64, diagonal, lanes), codegen


@intrinsic
def square_block(typing: Any, out: Any, t: Any, i: Any, j: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """Rows i:i+4, columns j:j+4 (i ≤ j) of out = TᵀT, T lower triangular: (UᵀU)⁻¹."""
    require(types.float32, out, t)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, source = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in range(2))
        row, col = args[2], args[3]

        place = partial(_place, builder, lanes)
        rows, cols = _block(builder, row, col)

        def factors_of(after: ir.Value) -> _Factors:
            left = [source.vector(place(after, r)) for r in rows]
            return left, [source.vector(place(after, c)) for c in cols]

        zero = splat(builder, ir.Constant(ir.FloatType(), 0.0), FLOATS)
        total = _summed(builder, dict.fromkeys(_EVERY, zero), col, constant(len(lanes)), factors_of)
        for (m, n), entry in total.items():
            o.store(entry, place(rows[m], cols[n]))
        return context.get_dummy_value()

    return types.void(out, t, types.int64, types.int64, lanes), codegen


@intrinsic
def eliminate(
    typing: Any, x: Any, c: Any, u: Any, pivots: Any, begin: Any, end: Any, back: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """One step of a substitution: x_c *= 1 / U_cc, then x_j -= U_cj x_c (U_jc going ``back``) for begin ≤ j < end."""
    require(types.float32, x, u, pivots)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        out, factor, inverse = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in (0, 2, 3))
        own = builder.mul(args[1], constant(LANES))
        value = builder.fmul(out.vector(own), inverse.vector(own))
        out.store(value, own)
        negative = builder.fneg(value)
        with cgutils.for_range(builder, args[5], start=args[4]) as loop:
            r, c = (loop.index, args[1]) if len(back) else (args[1], loop.index)
            entry = factor.vector(_place(builder, lanes, r, c))
            at = builder.mul(loop.index, constant(LANES))
            out.store(fma(builder, negative, entry, out.vector(at)), at)
        return context.get_dummy_value()

    return types.void(x, types.int64, u, pivots, types.int64, types.int64, back, lanes), codegen


@intrinsic
def take_row(
    typing: Any, residual: Any, theta: Any, a: Any, i: Any, end: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """Residual -= (row and column i of the symmetric a) theta, entries j ≥ i only, j < ``end``; float64 (≥ end, L)."""
    require(types.float64, residual, theta)
    require(types.float32, a)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        out, x, matrix = (Pointer(context, builder, signature.args[n], args[n], LANES) for n in range(3))
        own = builder.mul(args[3], constant(LANES))
        here = builder.fneg(x.vector(own))
        entry = builder.fpext(matrix.vector(_place(builder, lanes, args[3], args[3])), WIDES)
        total = cgutils.alloca_once_value(builder, fma(builder, here, entry, out.vector(own)))
        with cgutils.for_range(builder, args[4], start=builder.add(args[3], constant(1))) as loop:
            at = builder.mul(loop.index, constant(LANES))
            entry = builder.fpext(matrix.vector(_place(builder, lanes, args[3], loop.index)), WIDES)
            builder.store(fma(builder, builder.fneg(x.vector(at)), entry, builder.load(total)), total)
            out.store(fma(builder, here, entry, out.vector(at)), at)
        out.store(builder.load(total), own)
        return context.get_dummy_value()

    return types.void(residual, theta, a, types.int64, types.int64, lanes), codegen
