"""Random numbers as a function of what they are for: hash(seed, stream, ids), never a generator with a state.

Any task can draw the numbers of any user or film on its own, so the data set is the same bits however it is cut into
partitions. The hash is splitmix64 (Steele, Lea and Flood, OOPSLA 2014), chained over the ids. Driver and executors.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MUL1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)


class Stream:
    """A named source of random numbers: `Stream(seed, "noise").uniform(user, item)`.

    Parameters
    ----------
    seed : int
        Seed of the whole data set.
    name : str
        What the numbers are for; two names give independent numbers for the same ids.
    """

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        self.key = np.uint64(int.from_bytes(digest, "little"))

    def bits(self, *ids: ArrayLike) -> NDArray[np.uint64]:
        """64 random bits for each tuple of ids (integer arrays that broadcast against one another)."""
        state: NDArray[np.uint64] = np.atleast_1d(self.key)
        for values in ids:
            state = chain(state, values)
        return state

    def uniform(self, *ids: ArrayLike) -> NDArray[np.float64]:
        """Uniform numbers, strictly between 0 and 1."""
        return to_uniform(self.bits(*ids))

    def normal(self, *ids: ArrayLike) -> NDArray[np.float64]:
        """Standard normal numbers (inverse CDF of the uniform ones)."""
        return ndtri(self.uniform(*ids))


def chain(state: NDArray[np.uint64], ids: ArrayLike) -> NDArray[np.uint64]:
    """One more id mixed into a hash: the `ids`-th output of the splitmix64 sequence that starts at `state`."""
    x = np.asarray(ids).astype(np.uint64) * _GOLDEN + state
    x ^= x >> _S30
    x *= _MUL1
    x ^= x >> _S27
    x *= _MUL2
    x ^= x >> _S31
    return x


def to_uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """52 of the 64 bits as float64 strictly between 0 and 1 (so that its logarithm and normal quantile are finite)."""
    return (bits >> _S12).astype(np.float64) * 2.0**-52 + 2.0**-53
