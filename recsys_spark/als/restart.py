"""What fits that go on, or begin from a model, ask of a block: what given rows cost, what data it holds. Executor."""

from __future__ import annotations

import numpy as np

from recsys_spark.als.terms import energies
from recsys_spark.als.work import Order, Rows, View
from recsys_spark.blocks.layout import PARTS, Block
from recsys_spark.kernels.rows import F32
from recsys_spark.kernels.start import mix


def energy_block(block: Block, view: View, order: Order) -> tuple[int, int]:
    """`terms.energies` of the rows as they are."""
    return energies(block, view.mine.factors, view.mine.biases, order)


def place_block(block: Block, view: View, biases: bool, nonnegative: bool) -> tuple[Rows, tuple[float, float]]:
    """The given rows; their largest |q_ia| and |c_i|. See `Executor.place`."""
    factors = np.maximum(view.given.factors, 0.0) if nonnegative else view.given.factors
    offsets = view.given.biases if biases else view.mine.biases
    return Rows(block.start, factors, offsets), largest_of(factors, offsets)


def largest_of(factors: F32, biases: F32) -> tuple[float, float]:
    """Largest |q_ia|, |c_i|; 0 where there is none."""
    return float(np.abs(factors).max(initial=0.0)), float(np.abs(biases).max(initial=0.0))


def hash_block(block: Block, view: View) -> int:
    """A hash of the block's ids and entries that adds up, modulo 2⁶⁴, to the same sum for every grid."""
    total = int(mix(block.keys).sum(dtype=np.uint64))
    for kind, name in enumerate(PARTS, 1):
        part = getattr(block, name)
        if not len(part.values):
            continue
        with np.errstate(over="ignore"):
            entries = mix(np.repeat(block.keys, np.diff(part.indptr)) + np.uint64(kind))
            entries = mix(entries ^ block.global_cols(name).astype(np.uint64))
            entries = mix(entries ^ part.values.view(np.uint32).astype(np.uint64))
            if part.weights.size:
                entries = mix(entries ^ part.weights.view(np.uint32).astype(np.uint64))
            total += int(entries.sum(dtype=np.uint64))
    return total % 2**64
