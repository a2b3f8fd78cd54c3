"""Compiling without reference counts, for passes that handle many arrays a row.

Numba counts references to every array that a view, a field of a tuple or an inlined function's argument names: an
atomic addition each, which took a third of a half-sweep at rank 32. A function compiled by
`uncounted` counts none: its caller holds all arrays, and it cannot make any. Nor can what it calls, be it that
`np.zeros`, a copy, or the assignment of a slice to a slice, which provides for overlap (`tile.put` does not).
"""

from __future__ import annotations

from numba import njit

# Numba's own name for it is not public, but as old as its reference counts; it uses it for its sorts and strings.
uncounted = njit(cache=True, nogil=True, _nrt=False)
