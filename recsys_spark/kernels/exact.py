"""Sums whose bits do not depend on how rows are grouped.

Floating-point addition is not associative, so a sum over rows would differ with the number of blocks. Each row's term
is therefore rounded once to a fixed grid of spacing 1/scale and added as int64, which is associative. The scale is a
power of two chosen from a bound on the sum that is known before the pass and is itself free of rounding order (maxima
and counts only), so every block of every partitioning uses the same one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_HEADROOM_BITS = 61  # one bit below the sign: rounding of n terms adds at most n/2 units to the bound


def scale_for(bound: float) -> float:
    """The largest power of two s with ``bound * s <= 2**61``; raises ValueError where ``bound`` is not finite.

    A sum of terms whose absolute values add up to at most ``bound`` then fits an int64 on the grid 1/s.
    """
    if not math.isfinite(bound) or bound < 0:
        raise ValueError(f"a sum needs a finite bound, found {bound}")
    if bound == 0:
        return 1.0
    return math.ldexp(1.0, min(_HEADROOM_BITS - math.frexp(bound)[1], 900))


@njit(cache=True, inline="always")
def on_grid(value: float, scale: float) -> int:
    """``value`` in units of 1/scale, rounded to the nearest (ties to even)."""
    return np.int64(np.rint(value * scale))


def off_grid(total: int | np.ndarray, scale: float) -> np.ndarray:
    """The float64 value of integer sums in units of 1/scale."""
    return np.asarray(total, np.float64) / scale
