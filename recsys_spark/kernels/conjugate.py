"""Conjugate gradients for a projection that is too large to be solved directly. Driver.

Every iterate, from a step of zero on, lowers the quadratic that it solves (Hestenes, Stiefel 1952), so few steps do:
the next iteration goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys_spark.kernels.rows import F64

STEPS = 6
ENOUGH = 1e-3  # of the first residual's norm


def conjugate_gradients(
    product: Callable[[F64], F64], right: F64, diagonal: F64, steps: int = STEPS, enough: float = ENOUGH
) -> F64:
    """About H⁻¹ ``right`` for a symmetric positive definite H.

    Parameters
    ----------
    product : callable
        D ↦ H D, in the shape of ``right``.
    right : float64 ndarray
    diagonal : float64 ndarray, positive
        About the diagonal of H, by which unknowns are scaled.
    steps : int
        Products at most.
    enough : float
        Share of the first (scaled) residual at which to stop.

    Notes
    -----
    NumPy's sums, unlike BLAS's, have the same bits on any number of cores.
    """
    step = np.zeros_like(right)
    residual = right.copy()
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = first = float(np.sum(residual * scaled))
    for _ in range(steps):
        if not energy > enough * enough * first:
            break
        image = product(direction)
        curvature = float(np.sum(direction * image))
        if not curvature > 0.0:  # rounding: no direction is left to go
            break
        length = energy / curvature
        step += length * direction
        residual -= length * image
        scaled = residual / diagonal
        before, energy = energy, float(np.sum(residual * scaled))
        direction = scaled + (energy / before) * direction
    return step
