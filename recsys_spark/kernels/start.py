"""Initial factors from (id, seed) alone: no index, block or partition plays a part."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import ArrayLike

from recsys_spark.kernels.rows import F32, U64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_AT_A_TIME = 512  # rows: a few arrays of their size stay in a cache
_PAIR = np.uint64(0x0000FFFF0000FFFF)
_MOST = 2**16 - 1  # of a uniform of 16 bits
_UNIT = math.sqrt(3 / (2**32 - 1))  # one over the standard deviation of four of them
MOST_ENERGY = 12.0
"""At least ‖q‖² of any row of initial factors: each is within 2√3 of its standard deviations."""


def mix(x: U64) -> U64:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): a bijection of uint64 that spreads every bit."""
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def keys_of(ids: ArrayLike) -> U64:
    """A uint64 key (n,) of each id, of NumPy or Arrow: integers by value, strings by BLAKE2b of their UTF-8 bytes."""
    ids = np.asarray(ids)
    if ids.dtype.kind in "iu":
        return mix(ids.astype(np.int64).view(np.uint64))
    digests = (hashlib.blake2b(str(i).encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def initial_factors(keys: U64, rank: int, seed: int, side: int) -> F32:
    """Bell-shaped factors of mean 0 and variance 1/k, float32 (n, k), from each row's key.

    Each is the sum of four uniforms of 16 bits (Irwin-Hall), all from one hash. Sums of integers and one product are
    the same on every processor; logarithms and cosines, which a normal one takes, differ in their last bits between
    NumPy's code for one and for another.
    """
    out = np.empty((len(keys), rank), np.float32)
    for start in range(0, len(keys), _AT_A_TIME):
        out[start : start + _AT_A_TIME] = _bells(keys[start : start + _AT_A_TIME], rank, seed, side)
    return out


def _bells(keys: U64, rank: int, seed: int, side: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        stream = mix(np.array([seed & (2**64 - 1)], np.uint64) + np.uint64(side) * _GOLDEN)
        cells = mix(keys ^ stream)[:, None] + np.arange(rank, dtype=np.uint64)[None, :] * _GOLDEN
    bits = mix(cells)
    pairs = (bits & _PAIR) + (bits >> np.uint64(16) & _PAIR)
    sums = ((pairs + (pairs >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).view(np.int64)
    bells: np.ndarray = (sums - 2 * _MOST) * (_UNIT / math.sqrt(max(rank, 1)))
    return bells
