"""The model in dense float64 NumPy, straight from its equations; shares no code with the package.

A problem holds full matrices: ratings (U, I), weights (U, I) with 0 where unobserved, features (U, d) and (I, d).
Written for users or items alike: `rows` is the side being solved, `other` the side held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Side:
    """Regularisation of one side."""

    features: np.ndarray  # (n, d)
    lam: np.ndarray  # (n,)
    lam_bias: float
    penalty: np.ndarray  # (d, k) ridge of the projection into factors
    penalty_bias: np.ndarray  # (d,)


@dataclass
class State:
    """One point of the model's parameter space."""

    mu: float
    factors: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    projection: dict[str, np.ndarray] = field(default_factory=dict)  # (d, k + 1), the bias column last


def terms(ratings: np.ndarray, weights: np.ndarray, sides: dict[str, Side], s: State) -> dict[str, float]:
    """J by term; rows without ratings are not variables of it."""
    residual = ratings - s.mu - s.biases["user"][:, None] - s.biases["item"][None, :]
    residual = residual - s.factors["user"] @ s.factors["item"].T
    out = {"sse": float((weights * residual**2).sum())}
    projection = 0.0
    for name, side in sides.items():
        live = (weights.sum(1 if name == "user" else 0)) > 0
        prior = side.features @ s.projection[name]
        shift = s.factors[name] - prior[:, :-1]
        out[f"reg_{name}"] = float((side.lam * (shift**2).sum(1))[live].sum())
        out[f"reg_{name}_bias"] = float(side.lam_bias * ((s.biases[name] - prior[:, -1]) ** 2)[live].sum())
        projection += float((side.penalty * s.projection[name][:, :-1] ** 2).sum())
        projection += float((side.penalty_bias * s.projection[name][:, -1] ** 2).sum())
    out["reg_projection"] = projection
    return out


def objective(ratings: np.ndarray, weights: np.ndarray, sides: dict[str, Side], s: State) -> float:
    """J."""
    return sum(terms(ratings, weights, sides, s).values())


def solve_rows(
    ratings: np.ndarray, weights: np.ndarray, other: np.ndarray, other_bias: np.ndarray, mu: float, side: Side,
    projection: np.ndarray, learned: bool = True, kept: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Every row's minimiser for a given projection: (factors (n, k), biases (n,)). `ratings` is (n, N)."""
    n, k = len(ratings), other.shape[1]
    factors, biases = np.zeros((n, k)), np.zeros(n)
    for i in range(n):
        fixed = 0.0 if kept is None else kept[i]
        prior = side.features[i] @ projection
        design = np.hstack([other, np.ones((len(other), 1))]) if learned else other
        m = prior if learned else prior[:-1]
        lam = np.r_[np.full(k, side.lam[i]), side.lam_bias] if learned else np.full(k, side.lam[i])
        y = ratings[i] - mu - fixed - other_bias
        a = (design * weights[i][:, None]).T @ design + np.diag(lam)
        theta = np.linalg.solve(a, (design * weights[i][:, None]).T @ y + lam * m) if weights[i].any() else m
        factors[i] = theta[:k]
        biases[i] = theta[k] if learned else fixed
    return factors, biases


def solve_jointly(
    ratings: np.ndarray, weights: np.ndarray, other: np.ndarray, other_bias: np.ndarray, mu: float, side: Side
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors, biases and projection minimised together, as one least-squares problem over all of them."""
    n, k, d = len(ratings), other.shape[1], side.features.shape[1]
    width = k + 1
    at_projection = n * width
    rows, targets = [], []
    for i in range(n):
        if not weights[i].any():
            continue
        for j in np.flatnonzero(weights[i]):
            row = np.zeros(at_projection + d * width)
            row[i * width : i * width + width] = np.sqrt(weights[i, j]) * np.r_[other[j], 1.0]
            rows.append(row)
            targets.append(np.sqrt(weights[i, j]) * (ratings[i, j] - mu - other_bias[j]))
        for a in range(width):
            root = np.sqrt(side.lam[i] if a < k else side.lam_bias)
            row = np.zeros(at_projection + d * width)
            row[i * width + a] = root
            for f in range(d):
                row[at_projection + f * width + a] = -root * side.features[i, f]
            rows.append(row)
            targets.append(0.0)
    for f in range(d):
        for a in range(width):
            row = np.zeros(at_projection + d * width)
            row[at_projection + f * width + a] = np.sqrt(side.penalty[f, a] if a < k else side.penalty_bias[f])
            rows.append(row)
            targets.append(0.0)
    solution = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    projection = solution[at_projection:].reshape(d, width)
    theta = solution[:at_projection].reshape(n, width)
    theta[~weights.any(1)] = (side.features @ projection)[~weights.any(1)]
    return theta[:, :k], theta[:, k], projection
