"""Initial factors from (id, seed) alone: no index, block or partition plays a part."""

from __future__ import annotations

import hashlib

import numpy as np

from recsys_spark.kernels.rows import F32, U64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_AT_A_TIME = 1024  # rows: a dozen arrays of their size stay in a cache


def mix(x: U64) -> U64:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): a bijection of uint64 that spreads every bit."""
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def keys_of(ids: np.ndarray) -> U64:
    """A uint64 key (n,) of each id: integers by value, strings by BLAKE2b of their UTF-8 bytes."""
    if ids.dtype.kind in "iu":
        return mix(ids.astype(np.int64).view(np.uint64))
    digests = (hashlib.blake2b(str(i).encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def initial_factors(keys: U64, rank: int, seed: int, side: int) -> F32:
    """Normal factors of variance 1/k, float32 (n, k), from each row's key (Box–Muller on two hashes an entry)."""
    out = np.empty((len(keys), rank), np.float32)
    for start in range(0, len(keys), _AT_A_TIME):
        out[start : start + _AT_A_TIME] = _normal(keys[start : start + _AT_A_TIME], rank, seed, side)
    return out


def _normal(keys: U64, rank: int, seed: int, side: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        stream = mix(np.array([seed & (2**64 - 1)], np.uint64) + np.uint64(side) * _GOLDEN)
        cell = mix(keys[:, None] ^ stream) + np.arange(rank, dtype=np.uint64)[None, :] * np.uint64(2) * _GOLDEN
        u = _unit(mix(cell))
        v = _unit(mix(cell + _GOLDEN))
    normal: np.ndarray = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v) / np.sqrt(max(rank, 1))
    return normal


def _unit(bits: U64) -> np.ndarray:
    """Uniform on (0, 1), never 0: 53 bits and a half."""
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
