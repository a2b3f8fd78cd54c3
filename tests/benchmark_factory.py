"""Outcomes of measured processes that nobody ran."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_spark.als.settings import AlsSettings
from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.memory import Sample
from recsys_spark.benchmark.spec import (
    OURS,
    SPARK,
    Contender,
    FitOrder,
    Outcome,
    Phase,
    Quality,
    SparkChoice,
    Spec,
)

CHOICE = SparkChoice(blocks=4, cache=False)
GIB = 2**30


def make_spec(contender: Contender = OURS, fits: Sequence[FitOrder] = (), choice: SparkChoice = CHOICE) -> Spec:
    return Spec(
        contender=contender,
        data="data",
        features="features",
        train=AlsSettings(rank=8),
        spark=choice,
        reg=0.1,
        fits=tuple(fits),
        cores=2,
        driver_memory="1g",
    )


def phases(*fits: tuple[int, float], history: Sequence[float] = (), derived: float | None = None) -> tuple[Phase, ...]:
    """Phases (iterations, seconds) one second apart; the last has the history."""
    out, at = [], 100.0
    for n, (max_iter, seconds) in enumerate(fits):
        told = tuple(history) if n == len(fits) - 1 else ()
        out.append(Phase(max_iter=max_iter, source="parquet", start=at, end=at + seconds, history=told))
        at += seconds + 1
    if derived is not None:
        out.append(Phase(max_iter=0, source="derived", start=at, end=at + derived))
    return tuple(out)


def measured(
    contender: Contender,
    *fits: tuple[int, float],
    memory: float = 1.0,
    history: Sequence[float] = (),
    derived: float | None = None,
    rmse: float | None = None,
    choice: SparkChoice = CHOICE,
) -> Measured:
    """A process whose memory is `memory` GiB from its first fit on."""
    slow = 4.0 if rmse and rmse > 0.9 else 1.0
    quality = rmse and Quality(
        test_rmse=rmse, rows=10, unknown=1, iterations=3, seconds=10.0 * slow, transform=slow, top_n=slow**2
    )
    outcome = Outcome(
        session=1.0,
        phases=phases(*fits, history=history, derived=derived),
        quality=quality,
        blas="dev.ludovic.netlib.blas.VectorBLAS" if contender == SPARK else None,
    )
    samples = [Sample(99.0, 9 * GIB), Sample(100.0, int(memory * GIB))]
    samples += [Sample(phase.end, 7 * GIB) for phase in outcome.phases if phase.source == "derived"]
    return Measured(make_spec(contender, choice=choice), outcome, samples)
