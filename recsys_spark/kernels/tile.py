"""The innermost loops of the Gram, spelled out as LLVM vector code: sixteen float32 lanes, sums held in registers.

Left to itself LLVM hardly vectorises them, since it cannot know that the arrays do not overlap. On processors with
narrower vectors it splits a sixteen-lane operation into several. The order of additions is that of the entries, one
fused multiply-add each.

All take the tuple ``lanes``, whose length is the padded rank K: a multiple of 16, the row length of buf, a32, factors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16
ROWS = 4  # rows of A that a tile updates: sixteen-lane sums that fit the registers of any processor
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Floats:
    """A float32 array as LLVM code sees it: loads and stores at an offset in floats."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> None:
        self._builder = builder
        self._base = context.make_array(kind)(context, builder, value).data

    def at(self, offset: ir.Value) -> ir.Value:
        return self._builder.gep(self._base, [offset])

    def scalar(self, offset: ir.Value) -> ir.Value:
        """One float in all lanes."""
        one = self._builder.load(self.at(offset), align=4)
        single = self._builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), one, _index(0, 32))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self._builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), zeros)

    def vector(self, offset: ir.Value) -> ir.Value:
        return self._builder.load(self._pointer(offset), align=4)

    def store(self, value: ir.Value, offset: ir.Value) -> None:
        self._builder.store(value, self._pointer(offset), align=4)

    def _pointer(self, offset: ir.Value) -> ir.Value:
        return self._builder.bitcast(self.at(offset), _VECTOR.as_pointer())


def _index(value: int, bits: int = 64) -> ir.Constant:
    return ir.Constant(ir.IntType(bits), value)


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    name = f"llvm.fma.v{LANES}f32"  # llvmlite's own builder.fma takes scalars only
    known = builder.module.globals.get(name)
    fma = known or ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
    return builder.call(fma, [a, b, c])


def _checked(*arrays: Any) -> None:
    for array in arrays:
        if not (isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"):
            raise TypeError(f"a C-contiguous float32 array is wanted, found {array}")


@intrinsic
def add_tile(typing: Any, a32: Any, buf: Any, count: Any, i: Any, j: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """``add_tile(a32, buf, (0,) * n, i, j, lanes)``: a32[i:i+4, j:j+16] += Σ_r buf[r, i:i+4] buf[r, j:j+16], r < n."""
    _checked(a32, buf)
    width, batch = len(lanes), len(count)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        a, b = (_Floats(context, builder, signature.args[n], args[n]) for n in (0, 1))
        row, col = args[3], args[4]
        corner = builder.add(builder.mul(row, _index(width)), col)
        places = [builder.add(corner, _index(n * width)) for n in range(ROWS)]
        sums = [a.vector(place) for place in places]
        for r in range(batch):
            right = b.vector(builder.add(col, _index(r * width)))
            for n in range(ROWS):
                left = b.scalar(builder.add(row, _index(r * width + n)))
                sums[n] = _fma(builder, left, right, sums[n])
        for place, total in zip(places, sums, strict=True):
            a.store(total, place)
        return context.get_dummy_value()

    return types.void(a32, buf, count, types.int64, types.int64, lanes), codegen


@intrinsic
def add_border(
    typing: Any, a32: Any, row: Any, scale: Any, buf: Any, count: Any, j: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """``add_border(a32, row, scale, buf, (0,) * n, j, lanes)``: a32[row, j:j+16] += Σ_r scale[r] buf[r, j:j+16]."""
    _checked(a32, scale, buf)
    width, batch = len(lanes), len(count)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        a, s, b = (_Floats(context, builder, signature.args[n], args[n]) for n in (0, 2, 3))
        place = builder.add(builder.mul(args[1], _index(width)), args[5])
        total = a.vector(place)
        for r in range(batch):
            right = b.vector(builder.add(args[5], _index(r * width)))
            total = _fma(builder, s.scalar(_index(r)), right, total)
        a.store(total, place)
        return context.get_dummy_value()

    return types.void(a32, types.int64, scale, buf, count, types.int64, lanes), codegen


@intrinsic
def copy_scaled(
    typing: Any, buf: Any, r: Any, scale: Any, factors: Any, c: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """``copy_scaled(buf, r, scale, factors, c, lanes)``: buf[r] = scale[r] · factors[c]."""
    _checked(buf, scale, factors)
    width = len(lanes)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        b, s, f = (_Floats(context, builder, signature.args[n], args[n]) for n in (0, 2, 3))
        to, source = (builder.mul(args[n], _index(width)) for n in (1, 4))
        factor = s.scalar(args[1])
        for j in range(0, width, LANES):
            moved = builder.fmul(factor, f.vector(builder.add(source, _index(j))))
            b.store(moved, builder.add(to, _index(j)))
        return context.get_dummy_value()

    return types.void(buf, types.int64, scale, factors, types.int64, lanes), codegen


@intrinsic
def prefetch(typing: Any, factors: Any, c: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """``prefetch(factors, c, lanes)``: ask for row c of the factors ahead of its use."""
    _checked(factors)
    width = len(lanes)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        f = _Floats(context, builder, signature.args[0], args[0])
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        start = builder.mul(args[1], _index(width))
        for j in range(0, width, LANES):
            address = builder.bitcast(f.at(builder.add(start, _index(j))), byte)
            builder.call(fetch, [address, _index(0, 32), _index(3, 32), _index(1, 32)])
        return context.get_dummy_value()

    return types.void(factors, types.int64, lanes), codegen
