"""Loops over the factors of several rows at once, in float64: what Numba's own loops do one row and number at a time.

LLVM cannot know that the arrays do not overlap. Arrays are (≥ K, L), or (L,) where there is one number a row; every
sum is added up in the order of the factors, products rounded by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from recsys_spark.kernels.lanes import EXTRA, FLOATS, WIDES
from recsys_spark.kernels.machine import LANES
from recsys_spark.kernels.tile import Pointer, constant, require

ZERO = ir.Constant(WIDES, [0.0] * LANES)


class _Rows:
    """An array of L numbers a factor, read as float64."""

    def __init__(
        self, context: Any, builder: ir.IRBuilder, kind: Any, value: Any, width: int = 1, shift: int = 0
    ) -> None:
        self._pointer, self._builder = Pointer(context, builder, kind, value, LANES), builder
        self._narrow = kind.dtype == types.float32
        self._width, self._shift = width, shift

    def load(self, j: ir.Value) -> ir.Value:
        """Those of factor j."""
        found = self._pointer.vector(self._at(j))
        return self._builder.fpext(found, WIDES) if self._narrow else found

    def store(self, value: ir.Value, j: ir.Value) -> None:
        """Put those of factor j, float64 as they are or rounded."""
        if self._narrow:
            value = self._builder.fptrunc(value, FLOATS)
        self._pointer.store(value, self._at(j))

    def _at(self, j: ir.Value) -> ir.Value:
        row = self._builder.mul(j, constant(self._width * LANES))
        return self._builder.add(row, constant(self._shift * LANES))


def _border(context: Any, builder: ir.IRBuilder, kind: Any, value: Any, lanes: Any) -> _Rows:
    """Column K + 1 of L (K, K + 4) matrices."""
    return _Rows(context, builder, kind, value, len(lanes) + EXTRA, len(lanes) + 1)


def _largest(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The greater one lane by lane, a where b is not a number."""
    return builder.select(builder.fcmp_ordered(">", b, a), b, a)


def _absolute(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered("<", a, ZERO), builder.fneg(a), a)


@intrinsic
def subtract_products(typing: Any, out: Any, a: Any, x: Any, end: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """Out -= Σ_{j<end} a[j, K + 1] x[j], out (L,) float64."""
    require(types.float64, out)
    require(types.float32, a)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        border = _border(context, builder, signature.args[1], args[1], lanes)
        o, other = (_Rows(context, builder, signature.args[n], args[n]) for n in (0, 2))
        total = cgutils.alloca_once_value(builder, o.load(constant(0)))
        with cgutils.for_range(builder, args[3]) as loop:
            product = builder.fmul(border.load(loop.index), other.load(loop.index))
            builder.store(builder.fsub(builder.load(total), product), total)
        o.store(builder.load(total), constant(0))
        return context.get_dummy_value()

    return types.void(out, a, x, types.int64, lanes), codegen


@intrinsic
def without_bias(typing: Any, theta: Any, x: Any, border: Any, bias: Any, end: Any) -> tuple[Any, Callable[..., Any]]:
    """theta[j] = x[j] - bias border[j] for j < end, bias (L,)."""
    require(types.float64, theta, bias)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        out, source, column, one = (_Rows(context, builder, signature.args[n], args[n]) for n in range(4))
        factor = one.load(constant(0))
        with cgutils.for_range(builder, args[4]) as loop:
            product = builder.fmul(factor, column.load(loop.index))
            out.store(builder.fsub(source.load(loop.index), product), loop.index)
        return context.get_dummy_value()

    return types.void(theta, x, border, bias, types.int64), codegen


@intrinsic
def begin_residual(
    typing: Any, residual: Any, rhs: Any, a: Any, bias: Any, end: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """residual[j] = rhs[j] - a[j, K + 1] bias for j < end, bias (L,); 0 for end ≤ j < K."""
    require(types.float64, residual, rhs, bias)
    require(types.float32, a)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        out, source, one = (_Rows(context, builder, signature.args[n], args[n]) for n in (0, 1, 3))
        border = _border(context, builder, signature.args[2], args[2], lanes)
        factor = one.load(constant(0))
        with cgutils.for_range(builder, args[4]) as loop:
            product = builder.fmul(border.load(loop.index), factor)
            out.store(builder.fsub(source.load(loop.index), product), loop.index)
        with cgutils.for_range(builder, constant(len(lanes)), start=args[4]) as loop:
            out.store(ZERO, loop.index)
        return context.get_dummy_value()

    return types.void(residual, rhs, a, bias, types.int64, lanes), codegen


@intrinsic
def copy_rows(typing: Any, out: Any, source: Any, end: Any) -> tuple[Any, Callable[..., Any]]:
    """out[j] = source[j] for j < end, rounded where out is float32."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        to, given = (_Rows(context, builder, signature.args[n], args[n]) for n in range(2))
        with cgutils.for_range(builder, args[2]) as loop:
            to.store(given.load(loop.index), loop.index)
        return context.get_dummy_value()

    return types.void(out, source, types.int64), codegen


@intrinsic
def correct(
    typing: Any, theta: Any, x: Any, border: Any, bias: Any, going: Any, change: Any, largest: Any, end: Any
) -> tuple[Any, Callable[..., Any]]:
    """theta[j] += δ, δ = x[j] - bias border[j] where ``going`` is not 0, else 0, for j < end.

    ``change`` and ``largest`` (L,) become no less than any |δ| and |theta[j]|.
    """
    require(types.float64, theta, bias, going, change, largest)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        out, source, column, one, gate, most, top = (
            _Rows(context, builder, signature.args[n], args[n]) for n in range(7)
        )
        factor = one.load(constant(0))
        goes = builder.fcmp_ordered("!=", gate.load(constant(0)), ZERO)
        sizes = [(rows, cgutils.alloca_once_value(builder, rows.load(constant(0)))) for rows in (most, top)]
        with cgutils.for_range(builder, args[7]) as loop:
            product = builder.fmul(factor, column.load(loop.index))
            delta = builder.select(goes, builder.fsub(source.load(loop.index), product), ZERO)
            value = builder.fadd(out.load(loop.index), delta)
            out.store(value, loop.index)
            for (_, size), found in zip(sizes, (delta, value), strict=True):
                builder.store(_largest(builder, builder.load(size), _absolute(builder, found)), size)
        for rows, size in sizes:
            rows.store(builder.load(size), constant(0))
        return context.get_dummy_value()

    return types.void(theta, x, border, bias, going, change, largest, types.int64), codegen


@intrinsic
def energies(
    typing: Any, objective: Any, apart: Any, theta: Any, rhs: Any, means: Any, lam: Any, end: Any
) -> tuple[Any, Callable[..., Any]]:
    """Objective += Σ_{j<end} λ m_j² - θ_j rhs_j, and apart = Σ_{j<end} λ (θ_j - m_j)², both (L,), as λ is."""
    require(types.float64, objective, apart, theta, rhs, means, lam)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, p, t, r, m, one = (_Rows(context, builder, signature.args[n], args[n]) for n in range(6))
        factor = one.load(constant(0))
        total = cgutils.alloca_once_value(builder, o.load(constant(0)))
        pull = cgutils.alloca_once_value(builder, ZERO)
        with cgutils.for_range(builder, args[6]) as loop:
            own, mean = t.load(loop.index), m.load(loop.index)
            prior = builder.fmul(builder.fmul(factor, mean), mean)
            term = builder.fsub(prior, builder.fmul(own, r.load(loop.index)))
            builder.store(builder.fadd(builder.load(total), term), total)
            far = builder.fsub(own, mean)
            term = builder.fmul(builder.fmul(factor, far), far)
            builder.store(builder.fadd(builder.load(pull), term), pull)
        o.store(builder.load(total), constant(0))
        p.store(builder.load(pull), constant(0))
        return context.get_dummy_value()

    return types.void(objective, apart, theta, rhs, means, lam, types.int64), codegen


@intrinsic
def precisions(typing: Any, a: Any, lam: Any, border: Any, coupling: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """a[i, j] = λ [i = j] - λ² a[i, j] - coupling border[i] border[j] for i ≤ j, of L (K, K + 4) matrices."""
    require(types.float32, a, border)
    require(types.float64, lam, coupling)
    width = len(lanes) + EXTRA

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        matrix, one, column, coupled = (_Rows(context, builder, signature.args[n], args[n]) for n in range(4))
        own = one.load(constant(0))
        square, couple = builder.fmul(own, own), coupled.load(constant(0))

        def entry(at: ir.Value, factor: ir.Value, j: ir.Value) -> ir.Value:
            product = builder.fmul(square, matrix.load(at))
            return builder.fneg(builder.fadd(product, builder.fmul(factor, column.load(j))))

        with cgutils.for_range(builder, constant(len(lanes))) as outer:
            i = outer.index
            row, factor = builder.mul(i, constant(width)), builder.fmul(couple, column.load(i))
            at = builder.add(row, i)
            matrix.store(builder.fadd(own, entry(at, factor, i)), at)
            with cgutils.for_range(builder, constant(len(lanes)), start=builder.add(i, constant(1))) as inner:
                at = builder.add(row, inner.index)
                matrix.store(entry(at, factor, inner.index), at)
        return context.get_dummy_value()

    return types.void(a, lam, border, coupling, lanes), codegen
