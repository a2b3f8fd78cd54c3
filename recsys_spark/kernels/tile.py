"""The innermost loops of the Gram, spelled out as LLVM vector code: sums are held in registers.

Left to itself LLVM hardly vectorises them, since it cannot know that the arrays do not overlap. On processors with
narrower vectors it splits a sixteen-lane operation into several. Every element is summed over r = 0, 1, … with one
fused multiply-add each, so its bits depend on nothing else.

All take the tuple ``lanes``, whose length is the padded rank K, a multiple of 16 (`PIECE`). Work matrices have rows of
K + 16 floats (`stride`), so that a gathered row can carry its own coefficients; factor tables have rows of K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

PIECE = 16  # columns: padded ranks are multiples of it
HALF = 8
AHEAD = 64  # entries between asking for a row and using it


def stride(width: int) -> int:
    """Row length of work matrices for padded rank ``width``: columns K and K + 1 hold an entry's coefficients."""
    return width + PIECE


def floats(lanes: int) -> ir.VectorType:
    """The type of so many float32."""
    return ir.VectorType(ir.FloatType(), lanes)


def doubles(lanes: int) -> ir.VectorType:
    """The type of so many float64."""
    return ir.VectorType(ir.DoubleType(), lanes)


class Pointer:
    """A float32, float64 or int32 array as LLVM code sees it: loads and stores at an offset in elements."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, value: Any, lanes: int = PIECE) -> None:
        self._builder = builder
        self._base = context.make_array(kind)(context, builder, value).data
        self._type = (floats if kind.dtype == types.float32 else doubles)(lanes)
        self._align = kind.dtype.bitwidth // 8

    def at(self, offset: ir.Value) -> ir.Value:
        """The address of an element."""
        return self._builder.gep(self._base, [offset])

    def load(self, offset: ir.Value) -> ir.Value:
        """One element."""
        return self._builder.load(self.at(offset), align=self._align)

    def scalar(self, offset: ir.Value) -> ir.Value:
        """One number in all lanes."""
        return splat(self._builder, self.load(offset), self._type)

    def vector(self, offset: ir.Value) -> ir.Value:
        """As many numbers as there are lanes."""
        return self._builder.load(self._pointer(offset), align=self._align)

    def store(self, value: ir.Value, offset: ir.Value) -> None:
        """Put as many."""
        self._builder.store(value, self._pointer(offset), align=self._align)

    def _pointer(self, offset: ir.Value) -> ir.Value:
        return self._builder.bitcast(self.at(offset), self._type.as_pointer())


def splat(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """One number in all lanes."""
    undefined = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(single, undefined, first)


def constant(value: int, bits: int = 64) -> ir.Constant:
    """An integer."""
    return ir.Constant(ir.IntType(bits), value)


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """A b + c, rounded once."""
    return lanewise(builder, "fma", a, b, c)


def sqrt(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """√a."""
    return lanewise(builder, "sqrt", a)


def lanewise(builder: ir.IRBuilder, name: str, *args: ir.Value) -> ir.Value:
    """An LLVM intrinsic on vectors: llvmlite's own declarations take scalars only."""
    kind = args[0].type
    full = f"llvm.{name}.v{kind.count}{'f32' if kind.element == ir.FloatType() else 'f64'}"
    known = builder.module.globals.get(full)
    known = known or ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), full)
    return builder.call(known, args)


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Ask for a cache line."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    # To be read, into the second cache, as data.
    builder.call(fetch, [builder.bitcast(address, byte), constant(0, 32), constant(2, 32), constant(1, 32)])


def require(dtype: Any, *arrays: Any) -> None:
    """Raise TypeError, when compiling, unless the arrays are C-contiguous and of that dtype."""
    for array in arrays:
        if not (isinstance(array, types.Array) and array.dtype == dtype and array.layout == "C"):
            raise TypeError(f"a C-contiguous {dtype} array is wanted, found {array}")


@intrinsic
def add_product(
    typing: Any, out: Any, left: Any, right: Any, count: Any, fresh: Any, i: Any, j: Any, rows: Any, halves: Any,
    border: Any, fetched: Any, asked: Any, factors: Any, cols: Any, low: Any, part: Any, lanes: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[i:i+rows, j:j+8 halves] = or, unless ``fresh``, += Σ_{r<count} left[r, i:i+rows]ᵀ right[r, j:j+8 halves].

    ``rows``, ``halves`` and ``border`` are tuples whose lengths count: with a border of two, columns K and K + 1 of
    left make rows K and K + 1 of out as well. With one ``fetched``, right[r, j:j+8 halves] are first set to those
    of factors[cols[low + r]], which costs little between multiplications; ``left`` may be the same array.

    With one ``asked``, it asks for factors[cols[low + AHEAD + r], part:part+16], which will be wanted next, while it
    multiplies: asked for all at once they would fill the core's buffers, and it would wait.
    """
    require(types.float32, out, left, right, factors)
    require(types.int32, cols)
    width, step = len(lanes), stride(len(lanes))
    wide = HALF if len(halves) % 2 else PIECE
    columns = len(halves) * HALF // wide

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, a, b = (Pointer(context, builder, signature.args[n], args[n], wide) for n in range(3))
        row, col = args[5], args[6]
        picks = [builder.add(row, constant(m)) for m in range(len(rows))]
        picks += [constant(width + m) for m in range(len(border))]
        outs = [
            builder.add(builder.add(builder.mul(pick, constant(step)), col), constant(c * wide))
            for pick in picks
            for c in range(columns)
        ]
        zero = ir.Constant(floats(wide), [0.0] * wide)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in outs]
        with builder.if_then(builder.not_(args[4])):
            for place, total in zip(outs, sums, strict=True):
                builder.store(o.vector(place), total)
        table, wanted = (Pointer(context, builder, signature.args[n], args[n], wide) for n in (12, 13))
        last = builder.sub(context.make_array(signature.args[13])(context, builder, args[13]).nitems, constant(1))
        with cgutils.for_range(builder, args[3]) as loop:
            entry = builder.add(args[14], loop.index)
            if len(asked):
                coming = builder.add(entry, constant(AHEAD))
                coming = builder.select(builder.icmp_signed("<", coming, last), coming, last)
                prefetch(builder, table.at(builder.add(_row_of(builder, wanted, coming, width), args[15])))
            base = builder.mul(loop.index, constant(step))
            places = [builder.add(builder.add(base, col), constant(c * wide)) for c in range(columns)]
            if len(fetched):
                source = builder.add(_row_of(builder, wanted, entry, width), col)
                panel = [table.vector(builder.add(source, constant(c * wide))) for c in range(columns)]
                for place, vector in zip(places, panel, strict=True):
                    b.store(vector, place)
            else:
                panel = [b.vector(place) for place in places]
            for m, pick in enumerate(picks):
                factor = a.scalar(builder.add(base, pick))
                for c in range(columns):
                    total = sums[m * columns + c]
                    builder.store(fma(builder, factor, panel[c], builder.load(total)), total)
        for place, total in zip(outs, sums, strict=True):
            o.store(builder.load(total), place)
        return context.get_dummy_value()

    kinds = (out, left, right, types.int64, types.boolean, types.int64, types.int64, rows, halves, border)
    return types.void(*kinds, fetched, asked, factors, cols, types.int64, types.int64, lanes), codegen


def _row_of(builder: ir.IRBuilder, cols: Pointer, entry: ir.Value, width: int) -> ir.Value:
    """Where the factors of an entry's column begin."""
    return builder.mul(builder.sext(cols.load(entry), ir.IntType(64)), constant(width))


@intrinsic
def widen(typing: Any, out: Any, source: Any, i: Any, j: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """float64 out[i, j:j+16] += source[i, j:j+16]; source is left zero."""
    require(types.float64, out)
    require(types.float32, source)
    step = stride(len(lanes))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        o, s = (Pointer(context, builder, signature.args[n], args[n]) for n in (0, 1))
        place = builder.add(builder.mul(args[2], constant(step)), args[3])
        o.store(builder.fadd(builder.fpext(s.vector(place), doubles(PIECE)), o.vector(place)), place)
        s.store(ir.Constant(floats(PIECE), [0.0] * PIECE), place)
        return context.get_dummy_value()

    return types.void(out, source, types.int64, types.int64, lanes), codegen


@intrinsic
def gather_rows(
    typing: Any, buf: Any, factors: Any, cols: Any, low: Any, count: Any, lanes: Any
) -> tuple[Any, Callable[..., Any]]:
    """buf[r, :K] = factors[cols[low + r]] for r < count."""
    require(types.float32, buf, factors)
    require(types.int32, cols)
    width, step = len(lanes), stride(len(lanes))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        b, f, c = (Pointer(context, builder, signature.args[n], args[n]) for n in range(3))
        with cgutils.for_range(builder, args[4]) as loop:
            source = _row_of(builder, c, builder.add(args[3], loop.index), width)
            to = builder.mul(loop.index, constant(step))
            for j in range(0, width, PIECE):
                b.store(f.vector(builder.add(source, constant(j))), builder.add(to, constant(j)))
        return context.get_dummy_value()

    return types.void(buf, factors, cols, types.int64, types.int64, lanes), codegen


@intrinsic
def put(typing: Any, out: Any, at: Any, source: Any, begin: Any, count: Any) -> tuple[Any, Callable[..., Any]]:
    """out[at + j] = source[begin + j] for j < count, eight at a time: up to seven more, which are the caller's care.

    One-dimensional arrays that do not overlap, of float32 or of float64, or of float32 into float64.
    """
    for array in (out, source):
        require(types.float64 if array.dtype == types.float64 else types.float32, array)
    wider = out.dtype != source.dtype

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        to, given = (Pointer(context, builder, signature.args[n], args[n], HALF) for n in (0, 2))
        with cgutils.for_range_slice(builder, constant(0), args[4], constant(HALF)) as (j, _):
            found = given.vector(builder.add(args[3], j))
            to.store(builder.fpext(found, doubles(HALF)) if wider else found, builder.add(args[1], j))
        return context.get_dummy_value()

    return types.void(out, types.int64, source, types.int64, types.int64), codegen
