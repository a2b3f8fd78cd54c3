"""Non-negative least squares for one row: minimise  θᵀSθ/2 - rᵀθ  with some θ_j ≥ 0, the others free. Exact.

Block principal pivoting (Portugal, Júdice, Vicente 1994, "A comparison of block pivoting and interior-point algorithms
for linear least squares problems with nonnegative variables"; Kim, Park 2011): guess which components are at zero,
solve for the others, flip every component that comes out with the wrong sign, and start again. Where that does not
shorten the list of wrong ones a few times running, only the last of them is flipped (Murty's rule), which is finite for
a positive definite S. Rounding could still make it cycle; the active-set method of Lawson and Hanson then takes over,
whose objective falls with every step.

It starts from all components positive, whatever the row was before: a solution depends on the row's system alone, and
costs one Cholesky where no bound binds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys_spark.kernels.dense import cholesky, substitute
from recsys_spark.kernels.rows import F64, I64

TOLERANCE = 1e-11  # of the gradient, in units of its terms: some hundred times the rounding of a Cholesky solve of 513
PIVOT_FLOOR = 1e-14  # a pivot this small against its diagonal is rounding
SPARE = 3  # rounds without progress before one component is flipped at a time


class NnlsScratch(NamedTuple):
    """One thread's work space for systems of up to n components."""

    upper: F64  # (n, n) the positive components' part of S, then its Cholesky factor
    rhs: F64  # (n,)
    packed: F64  # (n,) solution of the positive components alone
    trial: F64  # (n,) the same at its places, zeros elsewhere
    gradient: F64  # (n,) Sθ - r
    bound: F64  # (n,) how far from zero counts as zero in the gradient
    places: I64  # (n,) which components are positive, ascending
    positive: NDArray[np.bool_]  # (n,) components that are not held at zero; the free ones always


def nnls_scratch(size: int) -> NnlsScratch:
    """A new work space for systems of up to ``size`` components."""
    return NnlsScratch(
        upper=np.empty((size, size)),
        rhs=np.empty(size),
        packed=np.empty(size),
        trial=np.empty(size),
        gradient=np.empty(size),
        bound=np.empty(size),
        places=np.empty(size, np.int64),
        positive=np.empty(size, np.bool_),
    )


@njit(cache=True, nogil=True)
def nonnegative_solve(system: F64, size: int, constrained: int, rhs: F64, theta: F64, s: NnlsScratch) -> bool:
    """Put the minimiser of θᵀSθ/2 - rᵀθ, θ_j ≥ 0 for j < constrained, into ``theta``; allocates nothing.

    Parameters
    ----------
    system : float64 ndarray, at least (size, size)
        S, symmetric positive definite, in the upper triangle of its leading part; left as it is.
    size, constrained : int
        Number of components, and how many of them, the first ones, may not be negative (constrained ≤ size).
    rhs : float64 ndarray, at least (size,)
        r; left as it is.
    theta : float64 ndarray, at least (size,)
        Receives θ. Components at their bound are exactly 0.
    s : NnlsScratch
        Work space of at least ``size``.

    Returns
    -------
    bool
        Whether θ satisfies the optimality conditions (Karush, Kuhn, Tucker): θ_j ≥ 0, and the gradient g = Sθ - r is
        zero where θ_j > 0 or j is free, and not negative where θ_j = 0, to `TOLERANCE` of the gradient's own terms.
        False too where S is singular or not finite; θ is then meaningless.
    """
    for j in range(size):
        s.positive[j] = True
    fewest, spare = size + 1, SPARE
    for _ in range(3 * size + 20):
        if not _solve_positive(system, size, rhs, s):
            return False
        for j in range(size):
            theta[j] = s.trial[j]
        _gradient(system, size, rhs, theta, s)
        wrong, last = 0, -1
        for j in range(constrained):
            if _wrong(j, theta, s):
                wrong, last = wrong + 1, j
        if wrong == 0:
            return is_optimal(size, constrained, theta, s)
        if wrong < fewest:
            fewest, spare = wrong, SPARE
        elif spare > 0:
            spare -= 1
        else:
            s.positive[last] = not s.positive[last]
            continue
        for j in range(constrained):
            if _wrong(j, theta, s):
                s.positive[j] = not s.positive[j]
    return active_set_solve(system, size, constrained, rhs, theta, s)


@njit(cache=True, nogil=True)
def active_set_solve(system: F64, size: int, constrained: int, rhs: F64, theta: F64, s: NnlsScratch) -> bool:
    """The same by the active-set method of Lawson and Hanson (1974, ch. 23): from zero, one component at a time.

    Slower, a Cholesky for every component that is positive, but its objective falls with every step.
    """
    for j in range(size):
        s.positive[j] = j >= constrained
        theta[j] = 0.0
    if not _solve_positive(system, size, rhs, s):
        return False
    for j in range(constrained, size):
        theta[j] = s.trial[j]
    for _ in range(3 * size + 20):
        _gradient(system, size, rhs, theta, s)
        enter, steepest = -1, 0.0
        for j in range(constrained):
            if not s.positive[j] and s.gradient[j] < -s.bound[j] and s.gradient[j] < steepest:
                enter, steepest = j, s.gradient[j]
        if enter < 0:
            return is_optimal(size, constrained, theta, s)
        s.positive[enter] = True
        if not _step_back(system, size, constrained, rhs, theta, s):
            return False
    return False


@njit(cache=True, nogil=True)
def _step_back(system: F64, size: int, constrained: int, rhs: F64, theta: F64, s: NnlsScratch) -> bool:
    """Go towards the solution of the positive components, dropping those that reach zero on the way."""
    for _ in range(size + 1):
        if not _solve_positive(system, size, rhs, s):
            return False
        step, leave = 1.0, -1
        for j in range(constrained):
            if s.positive[j] and s.trial[j] < 0.0:
                share = theta[j] / (theta[j] - s.trial[j])
                if share < step:
                    step, leave = share, j
        for j in range(size):
            theta[j] = s.trial[j] if leave < 0 else theta[j] + step * (s.trial[j] - theta[j])
        if leave < 0:
            return True
        theta[leave] = 0.0
        s.positive[leave] = False
        for j in range(constrained):
            theta[j] = max(theta[j], 0.0)
    return False


@njit(cache=True, nogil=True)
def _wrong(j: int, theta: F64, s: NnlsScratch) -> bool:
    return theta[j] < 0.0 if s.positive[j] else s.gradient[j] < -s.bound[j]


@njit(cache=True, nogil=True)
def is_optimal(size: int, constrained: int, theta: F64, s: NnlsScratch) -> bool:
    """Whether θ meets the optimality conditions, from the gradient and its bounds in the scratch."""
    for j in range(size):
        if not (abs(s.gradient[j]) < np.inf and s.bound[j] < np.inf):
            return False  # so too where S has a negative diagonal
        at_zero = j < constrained and theta[j] == 0.0
        if s.gradient[j] < -s.bound[j] or (not at_zero and s.gradient[j] > s.bound[j]):
            return False
        if j < constrained and theta[j] < 0.0:
            return False
    return True


@njit(cache=True, nogil=True)
def _solve_positive(system: F64, size: int, rhs: F64, s: NnlsScratch) -> bool:
    """The minimiser over the positive components, zeros elsewhere, into ``trial``; False where S is singular."""
    count = 0
    for j in range(size):
        s.trial[j] = 0.0
        if s.positive[j]:
            s.places[count] = j
            count += 1
    for a in range(count):
        i = s.places[a]
        s.rhs[a] = rhs[i]
        for b in range(a, count):
            s.upper[a, b] = system[i, s.places[b]]
    if not cholesky(s.upper, count):
        return False
    for a in range(count):
        i = s.places[a]
        if s.upper[a, a] * s.upper[a, a] <= PIVOT_FLOOR * system[i, i]:
            return False
    substitute(s.upper, count, s.rhs, s.packed)
    for a in range(count):
        s.trial[s.places[a]] = s.packed[a]
    return True


@njit(cache=True, nogil=True)
def _gradient(system: F64, size: int, rhs: F64, theta: F64, s: NnlsScratch) -> None:
    """Sθ - r from the upper triangle, and the size of its terms: |S_jl| ≤ √S_jj √S_ll."""
    terms = 0.0
    for j in range(size):
        s.gradient[j] = -rhs[j]
        terms += np.sqrt(system[j, j]) * abs(theta[j])
    for a in range(size):
        s.bound[a] = TOLERANCE * (np.sqrt(system[a, a]) * terms + abs(rhs[a]))
        t = theta[a]
        total = system[a, a] * t
        for b in range(a + 1, size):
            total += system[a, b] * theta[b]
            s.gradient[b] += system[a, b] * t
        s.gradient[a] += total
