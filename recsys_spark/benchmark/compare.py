"""The comparison: all contenders once, the two that ratios are told of in turns. Driver."""

from __future__ import annotations

import shutil

from recsys_spark.benchmark.choices import choose_reg
from recsys_spark.benchmark.schedule import Bench, Found
from recsys_spark.benchmark.spec import FitOrder
from recsys_spark.config import BenchmarkSettings
from recsys_spark.config.benchmark import ON_SPARK


def compare(bench: Bench, found: Found) -> None:
    """Choose every λ, then measure the contenders in turns."""
    options, chosen = bench.options, bench.options.chosen
    for name, contender in chosen.items():
        choose_reg(bench, found, name, contender)
    for name, contender in chosen.items():
        if contender.reg_of and contender.reg_of in bench.best:
            found.best[name] = bench.best[name] = bench.best[contender.reg_of]
    _compile(bench, found)
    pair = [name for name in (options.ours, options.baseline) if name in chosen]
    for repeat in range(1, options.repeats + 1):
        for name in chosen if repeat == 1 else pair:
            fits = full_fits(options, chosen[name].kind, repeat)
            run = bench.run(bench.spec(name, fits, turn=str(repeat)), f"repeat {repeat}")
            found.runs.setdefault(name, []).append(run)


def full_fits(options: BenchmarkSettings, kind: str, repeat: int) -> list[FitOrder]:
    """What one process of the comparison fits: twice nothing, one iteration, and a whole fit that is judged.

    The whole fit also tells what an iteration takes, unless it has fewer than 1 + n.
    """
    curved = repeat == 1 and kind in ("pyspark", "cmfrec") and "curves" in options.sections
    points = set(options.curve) if curved else set()
    fits = [FitOrder(max_iter=0), FitOrder(max_iter=0), FitOrder(max_iter=1, judged=1 in points)]
    if options.max_iter < 1 + options.iterations:
        fits.append(FitOrder(max_iter=1 + options.iterations))
    if kind in ON_SPARK:
        fits.append(FitOrder(max_iter=0, source="derived"))
    fits += [FitOrder(max_iter=n, judged=True) for n in sorted(points) if 1 < n < options.max_iter]
    return [*fits, FitOrder(max_iter=options.max_iter, judged=True, served=True)]


def _compile(bench: Bench, found: Found) -> None:
    """Fit BlockALS where no kernel is compiled, so that no process measured later compiles any."""
    names = [name for name, contender in bench.options.chosen.items() if contender.kind == "blockals"]
    names.sort(key=lambda name: name != bench.options.ours)
    fits = [FitOrder(max_iter=2, judged=True, served=True)]
    for at, name in enumerate(names):
        spec = bench.spec(name, fits, turn="cold")
        if at == 0 and bench.kept.find(spec) is None:
            shutil.rmtree(bench.kernels, ignore_errors=True)
        found.cold[name] = bench.run(spec, "cold")
