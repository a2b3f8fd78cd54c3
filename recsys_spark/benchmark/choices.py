"""What is settled before anybody is measured: pyspark.ml.ALS's blocks and caching, and every λ. Driver."""

from __future__ import annotations

from recsys_spark.benchmark.launch import Measured
from recsys_spark.benchmark.schedule import Bench, Found, Trial, regs_of, spark_of
from recsys_spark.benchmark.spec import FitOrder, SparkChoice
from recsys_spark.config import Contender


def choose_blocks(bench: Bench, found: Found) -> None:
    """Of pyspark.ml.ALS: the best number of blocks, then whether to cache, by the time of a whole fit.

    Each trial has another λ, since times do not depend on it, nor errors on blocks: no fit serves one end alone.
    """
    options = bench.options
    name = spark_of(options)
    if name is None:
        return
    found.choice = bench.choice
    if len(options.blocks) * len(options.cache) == 1:
        return
    regs = regs_of(options, options.known[name]) or (None,)

    def attempt(choice: SparkChoice) -> None:
        reg = regs[len(found.trials) % len(regs)]
        fits = [FitOrder(max_iter=0), FitOrder(max_iter=options.max_iter, reg=reg, judged=True)]
        told = f"{choice.blocks} blocks, {'' if choice.cache else 'not '}cached"
        run = bench.run(bench.spec(name, fits, spark=choice), told)
        if len(regs) > 1:
            found.regs.setdefault(name, {}).update(errors_by_reg(run))
        build, fit = (phase.seconds for phase in run.outcome.phases)
        found.trials.append(Trial(choice, reg, build, fit))

    def fastest() -> SparkChoice:
        return min(found.trials, key=lambda t: t.fit).choice

    for blocks in options.blocks:
        attempt(SparkChoice(blocks=blocks, cache=options.cache[0]))
    best = fastest().blocks
    for cache in options.cache[1:]:
        attempt(SparkChoice(blocks=best, cache=cache))
    found.choice = bench.choice = fastest()


def choose_reg(bench: Bench, found: Found, name: str, contender: Contender) -> None:
    """The λ of the lowest validation RMSE; test ratings play no part, unless nothing is held out.

    It is sought downhill: from what was tried already, or what was best for another of its kind, until both neighbours
    of the best one are worse. A fit of 32 million ratings takes minutes, and the error has one valley.
    """
    regs = regs_of(bench.options, contender)
    if len(regs) < 2:
        if regs:
            found.best[name] = bench.best[name] = regs[0]
        return
    errors = found.regs.setdefault(name, {})
    alike = (bench.best[n] for n, c in bench.options.chosen.items() if c.kind == contender.kind and n in bench.best)
    best = min(errors, key=errors.__getitem__) if errors else next(alike, None)
    at = regs.index(best) if best in regs else len(regs) // 2
    while wanted := [reg for reg in regs[max(at - 1, 0) : at + 2] if reg not in errors]:
        fits = [FitOrder(max_iter=bench.options.max_iter, reg=reg, judged=True) for reg in wanted]
        told = f"λ {', '.join(f'{reg:g}' for reg in wanted)}"
        errors |= errors_by_reg(bench.run(bench.spec(name, fits), told))
        at = regs.index(min(errors, key=errors.__getitem__))
    found.best[name] = bench.best[name] = regs[at]


def errors_by_reg(run: Measured) -> dict[float, float]:
    """RMSE on validation of each λ that a process judged; on the test fold where nothing is held out."""
    return {
        phase.order.reg: phase.judged.test_rmse
        if phase.judged.validation_rmse is None
        else phase.judged.validation_rmse
        for phase in run.outcome.phases
        if phase.judged is not None and phase.order.reg is not None
    }
