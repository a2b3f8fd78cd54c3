"""The model in dense float64 NumPy, straight from its equations; shares no code with the package.

A problem holds full matrices: ratings (U, I), weights (U, I) with 0 where unobserved, features (U, d) and (I, d),
graphs (U, U) and (I, I). Written for users or items alike: `rows` is the side being solved, `other` the side held
fixed.

The graph term of a side is α Tr(VᵀLV) with V = Q - XW, L = D - S. It couples rows, so a row update minimises a bound on
J instead: D + S ⪰ 0, hence L ⪯ 2D, and for every V

    Tr(VᵀLV) ≤ Tr(V⁰ᵀLV⁰) + 2 Tr((V - V⁰)ᵀ L V⁰) + 2 Σ_i d_i ‖v_i - v⁰_i‖²,   equal at V = V⁰.

With λ_i ‖v_i‖² and up to constants the right side is ℓ_i ‖v_i - u_i‖² for each row, where

    ℓ_i = λ_i + 2 α d_i,   u_i = α (d_i v⁰_i + Σ_j S_ij v⁰_j) / ℓ_i.

The bound is one in V, so it holds whether V moves through Q or through W. At V⁰ = Q⁰ - X W⁰, both from before the step,

    F(Q, c, W) = fit(Q, c) + Σ_i ℓ_i ‖q_i - Wᵀx_i - u_i‖² + λ_b Σ_i (c_i - wᵀx_i)² + ridge(W)

touches J at (Q⁰, c⁰, W⁰) and lies above it elsewhere. Minimising F over (Q, c, W) together, or over (Q, c) at any one W
that does not raise min F, cannot raise J. The joint minimiser is that of the model without a graph, with precision ℓ_i
in place of λ_i and prior mean Wᵀx_i + u_i. The rows must be solved with the same u as the projection was: u taken anew
at the new W belongs to another bound, whose minimum may lie above J.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import lsq_linear


@dataclass
class Side:
    """Regularisation of one side."""

    features: np.ndarray  # (n, d)
    lam: np.ndarray  # (n,)
    lam_bias: float
    penalty: np.ndarray  # (d, k) ridge of the projection into factors
    penalty_bias: np.ndarray  # (d,)
    graph: np.ndarray | None = None  # (n, n) symmetric S ≥ 0, zero diagonal
    alpha: float = 0.0
    nonnegative: bool = False

    def variables(self, live: np.ndarray) -> np.ndarray:
        """Rows that J depends on: those with ratings, and those with an edge."""
        return live if self.graph is None or not self.alpha else live | self.graph.any(1)

    def laplacian(self) -> np.ndarray:
        """α L, (n, n)."""
        s = np.zeros((len(self.lam),) * 2) if self.graph is None else self.graph
        return self.alpha * (np.diag(s.sum(1)) - s)


@dataclass
class State:
    """One point of the model's parameter space."""

    mu: float
    factors: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    projection: dict[str, np.ndarray] = field(default_factory=dict)  # (d, k + 1), the bias column last


@dataclass
class Unobserved:
    """Each cell without a rating, of rows and columns that have some: a (p·q)², or a (r̂ - target)² given a target."""

    weight: float
    target: float | None = None


@dataclass
class Pull:
    """What the graph makes of the rows' precisions and prior means in one step."""

    precision: np.ndarray  # (n,) ℓ
    shift: np.ndarray  # (n, k) u


def implicit(ratings: np.ndarray, mask: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray, Unobserved]:
    """(preferences, confidences, cells without feedback) of Hu, Koren, Volinsky 2008 as pyspark.ml reads it.

    A negative rating is a confident preference of 0. The n of λ(n) counts r > 0 only: ``((ratings > 0) & mask).sum``.
    """
    return (ratings > 0) * 1.0, mask * (1 + alpha * np.abs(ratings)), Unobserved(1.0, 0.0)


def terms(
    ratings: np.ndarray, weights: np.ndarray, sides: dict[str, Side], s: State, unobserved: Unobserved | None = None
) -> dict[str, float]:
    """J by term; rows without ratings and edges are not variables of it."""
    interaction = s.factors["user"] @ s.factors["item"].T
    baseline = s.mu + s.biases["user"][:, None] + s.biases["item"][None, :]
    out = {"sse": float((weights * (ratings - baseline - interaction) ** 2).sum())}
    if unobserved is not None:
        cells = weights.any(1)[:, None] & weights.any(0)[None, :] & (weights == 0)
        miss = interaction if unobserved.target is None else baseline + interaction - unobserved.target
        out["unobserved"] = float(unobserved.weight * (miss[cells] ** 2).sum())
    projection = 0.0
    for name, side in sides.items():
        live = side.variables(weights.any(1 if name == "user" else 0))
        prior = side.features @ s.projection[name]
        shift = s.factors[name] - prior[:, :-1]
        out[f"reg_{name}"] = float((side.lam * (shift**2).sum(1))[live].sum())
        out[f"reg_{name}_bias"] = float(side.lam_bias * ((s.biases[name] - prior[:, -1]) ** 2)[live].sum())
        if side.graph is not None:
            out[f"graph_{name}"] = float(np.trace(shift.T @ side.laplacian() @ shift))
        projection += float((side.penalty * s.projection[name][:, :-1] ** 2).sum())
        projection += float((side.penalty_bias * s.projection[name][:, -1] ** 2).sum())
    out["reg_projection"] = projection
    return out


def objective(
    ratings: np.ndarray, weights: np.ndarray, sides: dict[str, Side], s: State, unobserved: Unobserved | None = None
) -> float:
    """J."""
    return sum(terms(ratings, weights, sides, s, unobserved).values())


def pull(side: Side, factors: np.ndarray, projection: np.ndarray) -> Pull:
    """ℓ and u at V⁰ = factors - X · projection (see the module)."""
    s = np.zeros((len(side.lam),) * 2) if side.graph is None else side.graph
    degree = s.sum(1)
    v = factors - side.features @ projection[:, :-1]
    precision = side.lam + 2 * side.alpha * degree
    force = side.alpha * (degree[:, None] * v + s @ v)
    return Pull(precision, np.divide(force, precision[:, None], out=np.zeros_like(v), where=precision[:, None] > 0))


def row_cells(
    i: int, ratings: np.ndarray, weights: np.ndarray, other: np.ndarray, other_bias: np.ndarray, base: float,
    learned: bool, unobserved: Unobserved | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Every cell of row i as (design (m, width), weight (m,), target (m,)); `base` is μ, plus a bias held fixed."""
    design = np.hstack([other, np.ones((len(other), 1))]) if learned else other
    seen = weights[i] > 0
    parts = [(design[seen], weights[i][seen], (ratings[i] - base - other_bias)[seen])]
    if unobserved is not None and seen.any():
        rest = weights.any(0) & ~seen
        a, z = np.full(rest.sum(), unobserved.weight), design[rest].copy()
        if unobserved.target is None:
            z[:, other.shape[1] :] = 0.0
            parts.append((z, a, np.zeros(len(z))))
        else:
            parts.append((z, a, (unobserved.target - base - other_bias)[rest]))
    z, w, y = (np.concatenate(p) for p in zip(*parts, strict=True))
    return z, w, y


def solve_rows(
    ratings: np.ndarray, weights: np.ndarray, other: np.ndarray, other_bias: np.ndarray, mu: float, side: Side,
    projection: np.ndarray, learned: bool = True, kept: np.ndarray | None = None,
    unobserved: Unobserved | None = None, pulled: Pull | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Every row's minimiser for a given projection: (factors (n, k), biases (n,)). `ratings` is (n, N).

    With ``pulled`` the minimiser of the bound on J in place of J. A row without ratings goes to its prior mean (under
    the constraint, to the part of it that is not negative).
    """
    n, k = len(ratings), other.shape[1]
    factors, biases = np.zeros((n, k)), np.zeros(n)
    precision = side.lam if pulled is None else pulled.precision
    for i in range(n):
        fixed = 0.0 if kept is None else kept[i]
        m = (side.features[i] @ projection)[: k + learned]
        if pulled is not None:
            m[:k] += pulled.shift[i]
        if weights[i].any():
            z, w, y = row_cells(i, ratings, weights, other, other_bias, mu + fixed, learned, unobserved)
            root = np.sqrt(np.r_[np.full(k, precision[i]), [side.lam_bias] * learned])
            stacked = np.vstack([np.sqrt(w)[:, None] * z, np.diag(root)])
            low = np.r_[np.full(k, 0.0 if side.nonnegative else -np.inf), [-np.inf] * learned]
            theta = _least_squares(stacked, np.r_[np.sqrt(w) * y, root * m], low)
        else:
            theta = np.r_[np.maximum(m[:k], 0), m[k:]] if side.nonnegative else m
        factors[i] = theta[:k]
        biases[i] = theta[k] if learned else fixed
    return factors, biases


def solve_projection(
    side: Side, factors: np.ndarray, biases: np.ndarray, live: np.ndarray, learned: bool = True,
    pulled: Pull | None = None,
) -> np.ndarray:  # fmt: skip
    """The projection (d, k + 1) that minimises J with factors and biases held fixed, or with ``pulled`` the bound on J.

    Normal equations of a factor column: (Xᵀ(Λ + αL)X + ridge) W = Xᵀ(Λ + αL)Q, where XᵀLQ = (LX)ᵀQ; of the bound:
    (XᵀℓX + ridge) W = Xᵀℓ(Q - U).
    """
    rows, d = side.variables(live), side.features.shape[1]
    x = side.features
    if pulled is None:
        inner, target = np.diag(np.where(rows, side.lam, 0.0)) + side.laplacian(), factors
    else:
        inner, target = np.diag(np.where(rows, pulled.precision, 0.0)), factors - pulled.shift
    columns = [
        np.linalg.solve(x.T @ inner @ x + np.diag(side.penalty[:, a]), x.T @ inner @ target[:, a])
        for a in range(factors.shape[1])
    ]
    live_x = x[rows]
    bias = np.linalg.solve(
        side.lam_bias * live_x.T @ live_x + np.diag(side.penalty_bias), side.lam_bias * live_x.T @ biases[rows]
    )
    return np.column_stack([*columns, bias if learned else np.zeros(d)])


def solve_jointly(
    ratings: np.ndarray, weights: np.ndarray, other: np.ndarray, other_bias: np.ndarray, mu: float, side: Side,
    learned: bool = True, kept: np.ndarray | None = None, unobserved: Unobserved | None = None,
    pulled: Pull | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Factors, biases and projection minimised together, as one least-squares problem over all of them.

    With ``pulled`` the bound on J (what an iteration does), without it J itself, the graph's edges included.
    """
    n, k, d = len(ratings), other.shape[1], side.features.shape[1]
    width = k + learned
    at_projection = n * width
    rows, targets = [], []

    def add(entries: dict[int, float], target: float) -> None:
        row = np.zeros(at_projection + d * width)
        row[list(entries)] = list(entries.values())
        rows.append(row)
        targets.append(target)

    def shift(i: int, a: int, root: float) -> dict[int, float]:
        """root (θ_ia - (Wᵀx_i)_a)."""
        return {i * width + a: root} | {at_projection + f * width + a: -root * side.features[i, f] for f in range(d)}

    variables = side.variables(weights.any(1))
    precision = side.lam if pulled is None else pulled.precision
    for i in np.flatnonzero(variables):
        base = mu + (0.0 if kept is None else kept[i])
        z, w, y = row_cells(i, ratings, weights, other, other_bias, base, learned, unobserved)
        for design, root, target in zip(z, np.sqrt(w), y, strict=True):
            add({i * width + a: root * design[a] for a in range(width)}, root * target)
        for a in range(width):
            root = np.sqrt(precision[i] if a < k else side.lam_bias)
            add(shift(i, a, root), root * pulled.shift[i, a] if pulled is not None and a < k else 0.0)
    if pulled is None and side.graph is not None:
        for i, j in zip(*np.nonzero(np.triu(side.graph)), strict=True):
            root = np.sqrt(side.alpha * side.graph[i, j])
            for a in range(k):
                here, there = shift(i, a, root), shift(j, a, root)
                add({c: here.get(c, 0.0) - there.get(c, 0.0) for c in here.keys() | there.keys()}, 0.0)
    for f in range(d):
        for a in range(width):
            add({at_projection + f * width + a: np.sqrt(side.penalty[f, a] if a < k else side.penalty_bias[f])}, 0.0)
    solution = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    projection = solution[at_projection:].reshape(d, width)
    theta = solution[:at_projection].reshape(n, width)
    theta[~variables] = (side.features @ projection)[~variables]
    if learned:
        return theta[:, :k], theta[:, k], projection
    return theta, np.zeros(n) if kept is None else kept, np.hstack([projection, np.zeros((d, 1))])


def beyond(
    before: np.ndarray, solved: np.ndarray, length: float, nonnegative: bool
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(lengths, rows so far from ``before`` (0) by way of ``solved`` (1)): shorter where an entry gets to 0."""
    step = solved - before
    lengths = np.full(len(before), length)
    for i, row in enumerate(before if nonnegative else []):
        lengths[i] = min([length, *(-b / s for b, s in zip(row, step[i], strict=True) if s < 0)])
    return lengths, before + lengths[:, None] * step


def _least_squares(design: np.ndarray, target: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Minimise ‖design θ - target‖² with θ ≥ low, to rounding."""
    if np.isinf(low).all():
        return np.linalg.lstsq(design, target, rcond=None)[0]
    return lsq_linear(design, target, (low, np.inf), method="bvls", tol=1e-15).x
