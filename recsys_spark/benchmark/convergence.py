"""J and validation RMSE against iterations, with items taken to their solutions and beyond them. Driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_spark.benchmark.schedule import Bench, Found
from recsys_spark.benchmark.spec import FitOrder


def converge(bench: Bench, found: Found) -> None:
    """Fit `ours` without relaxation and with that of the settings, for as many iterations, without early stopping."""
    ours, fits = bench.options.ours, [FitOrder(max_iter=bench.options.convergence)]
    train = bench.spec(ours, fits).plan.train
    for relaxation in (1.0, train.relaxation):
        changed = train.model_copy(update={"relaxation": relaxation})
        run = bench.run(bench.spec(ours, fits, train=changed), f"convergence at relaxation {relaxation:g}")
        found.relaxed.append((relaxation, run))


def reached(plain: Mapping[str, Any], relaxed: Mapping[str, Any]) -> dict[int, int | None]:
    """The first iteration after which the second fit's J is that of the first after n iterations, by some n."""
    last = len(plain["objective"])
    shown = [n for n in (1, 2, 3, 5, 10, 15, 20, 30, 50, 100) if n < last] + [last]
    known = list(enumerate(relaxed["objective"], 1))
    return {n: next((at for at, found in known if found <= plain["objective"][n - 1]), None) for n in shown}
