"""Outcomes of measured processes that nobody ran."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_spark.als.settings import AlsSettings
from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.spec import Course, FitOrder, Judged, Kind, Outcome, Phase, Plan, Served, Size, Spec

OURS, SPARK = "blockals_features", "pyspark"
GIB = 2**30


def make_spec(name: str = OURS, fits: Sequence[FitOrder] = (), kind: Kind | None = None) -> Spec:
    return Spec(
        name=name,
        plan=Plan(kind=kind or ("pyspark" if name.startswith("pyspark") else "blockals"), train=AlsSettings(rank=8)),
        data="data",
        features="features",
        fits=tuple(fits),
        cores=2,
        driver_memory="1g",
    )


def phase(
    max_iter: int,
    seconds: float,
    *,
    start: float = 100.0,
    source: str = "parquet",
    history: Sequence[float] = (),
    validation: Sequence[float | None] = (),
    objective: Sequence[float] = (),
) -> Phase:
    """A fit that is not judged."""
    order = FitOrder(max_iter=max_iter, source=source)
    course = Course(seconds=tuple(history), validation=tuple(validation), objective=tuple(objective))
    return Phase(order=order, start=start, end=start + seconds, course=course)


def judged(
    max_iter: int,
    seconds: float,
    rmse: float,
    *,
    reg: float | None = None,
    history: Sequence[float] = (),
    validation: Sequence[float | None] = (),
    served: bool = True,
) -> Phase:
    """A fit whose RMSE is `rmse`, 0.01 less on validation, and whose figures grow with its seconds."""
    plain = phase(max_iter, seconds, start=1_000.0, history=history, validation=validation)
    used = Served(transform=seconds / 10, top_n=seconds / 5, save=1.0, load=2.0) if served else None
    errors = Judged(validation_rmse=rmse - 0.01, test_rmse=rmse, test_mae=rmse - 0.2, rows=10, unknown=1)
    order = FitOrder(max_iter=max_iter, reg=reg, judged=True, served=served)
    return plain.model_copy(update={"order": order, "judged": errors, "served": used, "shuffled": int(seconds * 1e6)})


def measured(name: str, *phases: Phase, memory: float = 1.0, spec: Spec | None = None) -> Measured:
    """A process whose memory is `memory` GiB, and that took a second more than its fits."""
    outcome = Outcome(
        session=1.0,
        phases=phases,
        size=Size(ratings=1_000, users=100, items=50),
        blas="dev.ludovic.netlib.blas.VectorBLAS" if name.startswith("pyspark") else None,
    )
    seconds = 1.0 + sum(each.seconds for each in phases)
    return Measured(spec or make_spec(name), outcome, int(memory * GIB), 0.3, seconds)


def answer(spec: Spec, *, build: float = 2.0, iteration: float = 0.5, rmse: float = 0.85) -> Measured:
    """What a process would say that takes so long for everything, and whose λs are the better the nearer to 0.1."""
    phases = []
    for order in spec.fits:
        seconds = build + iteration * order.max_iter
        history = [iteration] * order.max_iter if spec.plan.kind == "blockals" else []
        if order.judged:
            reg = spec.plan.reg if order.reg is None else order.reg
            worse = 0.0 if reg is None else abs(reg - 0.1)
            validation = [rmse + 0.1 / n for n in range(1, order.max_iter + 1)] if history else []
            found = judged(
                order.max_iter,
                seconds,
                rmse + worse + 0.1 / order.max_iter,
                reg=order.reg,
                history=history,
                validation=validation,
                served=order.served,
            )
            phases.append(found)
        else:
            phases.append(phase(order.max_iter, seconds, source=order.source, history=history))
    return measured(spec.name, *phases, spec=spec)
