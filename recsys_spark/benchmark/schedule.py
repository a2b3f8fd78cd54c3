"""Which processes are measured, in which order. Driver; no session of Spark is open meanwhile."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.kept import Failure, Kept
from recsys_spark.benchmark.launch import Measured, measure
from recsys_spark.benchmark.progress import Progress
from recsys_spark.benchmark.spec import FitOrder, Plan, SparkChoice, Spec
from recsys_spark.benchmark.times import fit_times
from recsys_spark.config import BenchmarkSettings, Contender, Settings, Variant
from recsys_spark.config.benchmark import ON_SPARK
from recsys_spark.errors import ConfigError, EnvironmentProblem
from recsys_spark.tuning.candidate import candidate

log = logging.getLogger(__name__)

USUAL_FIT = 10
"""Iterations of a usual fit (pyspark.ml.ALS's own default): its settings are chosen by the time of one."""
EXTRAS = ("cmfrec", "implicit")
"""Kinds whose package is an extra, and has their name."""


@dataclass(frozen=True)
class Trial:
    """One setting of pyspark.ml.ALS that was tried; seconds.

    Attributes
    ----------
    first : T(1), building included
    iteration : of each further one
    fit : of a whole fit of ten iterations, reckoned from the two
    """

    choice: SparkChoice
    first: float
    iteration: float
    fit: float


@dataclass
class Found:
    """All that was measured, by contender.

    Attributes
    ----------
    runs : one a repeat, in order
    cold : the first fit of BlockALS where no kernel was compiled before; of others what they have to compile beside
    regs : RMSE on validation by λ that was tried
    best : the λ that is measured; None: as the settings say
    trials : settings of pyspark.ml.ALS, empty where there was but one
    heaps : (MiB, whether it completed, seconds), as they were tried
    scaled : by what was varied
    relaxed : a fit of many iterations by its relaxation, without any first
    """

    runs: dict[str, list[Measured]] = field(default_factory=dict)
    cold: dict[str, Measured] = field(default_factory=dict)
    regs: dict[str, dict[float, float]] = field(default_factory=dict)
    best: dict[str, float | None] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    choice: SparkChoice | None = None
    heaps: dict[str, list[tuple[int, bool, float]]] = field(default_factory=dict)
    scaled: list[tuple[str, str, float, Measured]] = field(default_factory=list)
    relaxed: list[tuple[float, Measured]] = field(default_factory=list)


class Bench:
    """Processes of one benchmark, asked for one at a time, each once.

    Parameters
    ----------
    kept : outcomes so far; compiled kernels lie beside them
    """

    def __init__(self, settings: Settings, options: BenchmarkSettings, prepared: Prepared, kept: Kept) -> None:
        self.settings, self.options, self.prepared, self.kept = settings, options, prepared, kept
        self.kernels = kept.folder / "kernels"
        self.progress = Progress(planned(options))
        self.choice = SparkChoice(blocks=options.blocks[0], cache=options.cache[0])
        self.best: dict[str, float | None] = {}

    def spec(self, name: str, fits: Sequence[FitOrder], **changes: Any) -> Spec:
        """The order to one process; `changes` are fields of the spec, or of its plan."""
        plan = plan_of(self.settings, self.options, self.options.known[name])
        reg = self.best.get(name)
        of_plan = {key: changes.pop(key) for key in list(changes) if key in Plan.model_fields}
        plan = plan.model_copy(update={"spark": self.choice, **({} if reg is None else {"reg": reg}), **of_plan})
        given = Spec(
            name=name,
            plan=plan,
            data=self.prepared.data,
            features=self.prepared.features,
            fits=tuple(fits),
            cores=self.options.cores or len(os.sched_getaffinity(0)),
            driver_memory=self.options.driver_memory,
            conf=self.options.conf,
        )
        return given.model_copy(update=changes)

    def run(self, spec: Spec, what: str) -> Measured:
        """The outcome of a process that has to complete."""
        found = self._ask(spec, what, None, False)
        assert isinstance(found, Measured)
        return found

    def attempt(self, spec: Spec, what: str, timeout: float) -> Measured | Failure:
        """The outcome of a process that may fail, or take longer than `timeout` seconds."""
        return self._ask(spec, what, timeout, True)

    def _ask(self, spec: Spec, what: str, timeout: float | None, may_fail: bool) -> Measured | Failure:
        self.progress.begin(f"{spec.name}, {what}", f"{spec.plan.kind} {what.split(' ')[0]}")
        start = partial(measure, interval=self.options.sample_seconds, kernels=str(self.kernels), timeout=timeout)
        reused = self.kept.reused
        found = self.kept.ask(spec, start, may_fail=may_fail)
        self.progress.end(found.seconds)
        if isinstance(found, Failure):
            log.info("it did not complete")
        else:
            told = ", ".join(f"T({p.order.max_iter}) {p.seconds:.2f} s" for p in found.outcome.phases)
            log.info("%s%s", told, "; measured before" if self.kept.reused > reused else "")
        return found


def compare(bench: Bench, found: Found) -> None:
    """Choose every λ, then measure the contenders in turns."""
    options, chosen = bench.options, bench.options.chosen
    for name, contender in chosen.items():
        _choose_reg(bench, found, name, contender)
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
    """What one process of the comparison fits: twice nothing, one iteration, 1 + n, and a whole fit that is judged."""
    fits = [FitOrder(max_iter=n) for n in (0, 0, 1, 1 + options.iterations)]
    if kind in ON_SPARK:
        fits.append(FitOrder(max_iter=0, source="derived"))
    if repeat == 1 and kind in ("pyspark", "cmfrec") and "curves" in options.sections:
        fits += [FitOrder(max_iter=n, judged=True) for n in options.curve if n < options.max_iter]
    return [*fits, FitOrder(max_iter=options.max_iter, judged=True, served=True)]


def choose_blocks(bench: Bench, found: Found) -> None:
    """Of pyspark.ml.ALS: the best number of blocks, then whether to cache."""
    options = bench.options
    name = spark_of(options)
    if name is None:
        return
    if len(options.blocks) * len(options.cache) > 1:
        short = [FitOrder(max_iter=n) for n in (1, 1 + options.iterations)]

        def tried(choice: SparkChoice) -> Trial:
            told = f"{choice.blocks} blocks, {'' if choice.cache else 'not '}cached"
            return trial(bench.run(bench.spec(name, short, spark=choice), told), choice)

        trials = [tried(SparkChoice(blocks=blocks, cache=options.cache[0])) for blocks in options.blocks]
        blocks = min(trials, key=lambda t: t.fit).choice.blocks
        trials += [tried(SparkChoice(blocks=blocks, cache=cache)) for cache in options.cache[1:]]
        found.trials, bench.choice = trials, min(trials, key=lambda t: t.fit).choice
    found.choice = bench.choice


def spark_of(options: BenchmarkSettings) -> str | None:
    """The contender that pyspark.ml.ALS's blocks are chosen with: the first of its kind; None: it is not measured."""
    return next((name for name, contender in options.chosen.items() if contender.kind == "pyspark"), None)


def _choose_reg(bench: Bench, found: Found, name: str, contender: Contender) -> None:
    """The λ of the lowest validation RMSE; test ratings play no part, unless nothing is held out."""
    regs = bench.options.regs if contender.regs == "all" else contender.regs
    if not regs:
        return
    if len(regs) > 1:
        fits = [FitOrder(max_iter=bench.options.max_iter, reg=reg, judged=True) for reg in regs]
        phases = bench.run(bench.spec(name, fits), f"λ of {len(regs)}").outcome.phases
        told = {p.order.reg: p.judged for p in phases if p.judged is not None and p.order.reg is not None}
        found.regs[name] = {
            reg: judged.test_rmse if judged.validation_rmse is None else judged.validation_rmse
            for reg, judged in told.items()
        }
        best = min(found.regs[name], key=lambda reg: found.regs[name][reg])
    else:
        best = regs[0]
    found.best[name] = bench.best[name] = best


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


def trial(measured: Measured, choice: SparkChoice) -> Trial:
    """One line of the sweep; an iteration too short to measure counts nothing."""
    iteration = fit_times(measured.outcome)["iteration"]
    iteration = iteration if iteration > 0 else 0.0
    first = measured.outcome.phases[0].seconds
    return Trial(choice, first, iteration, first + (USUAL_FIT - 1) * iteration)


def plan_of(settings: Settings, options: BenchmarkSettings, contender: Contender) -> Plan:
    """The model that a contender fits, at the benchmark's rank unless it sets its own.

    Raises
    ------
    ConfigError
        It sets what is no setting, or to what it cannot be.
    """
    given = {"train.rank": options.rank, "train.max_iter": options.max_iter, **contender.set}
    made = candidate(settings, {}, Variant(set=given, groups=contender.groups), {})
    pyspark = settings.evaluate.pyspark.reg
    return Plan(
        kind=contender.kind,
        train=made.train,
        groups=contender.groups,
        graph=made.graph if contender.kind == "blockals" else None,
        offset=contender.offset,
        reg=pyspark if contender.kind != "blockals" or contender.reg_of else None,
    )


def planned(options: BenchmarkSettings) -> int:
    """Processes that a run asks for; some of them, when it comes to it, have been measured before."""
    chosen, total = options.chosen, 0
    kinds = [contender.kind for contender in chosen.values()]
    settings = len(options.blocks) + len(options.cache) - 1
    total += settings if settings > 1 and "pyspark" in kinds else 0
    if {"compare", "curves"} & set(options.sections):
        total += sum(_regs(options, contender) > 1 for contender in chosen.values())
        total += kinds.count("blockals") + len(chosen)
        total += (options.repeats - 1) * len({options.ours, options.baseline} & set(chosen))
    if "heap" in options.sections:
        on_spark = [contender for contender in chosen.values() if contender.kind in ON_SPARK]
        total += (1 + options.heap_steps) * len(on_spark)
    if "scaling" in options.sections:
        points = len(options.shares) + len(options.ranks) + len(options.core_counts)
        total += points * len(options.scaled)
    if "convergence" in options.sections:
        total += 2
    return total


def require_packages(contenders: Mapping[str, Contender]) -> None:
    """Raise EnvironmentProblem where a contender's package is not installed."""
    missing = sorted({c.kind for c in contenders.values() if c.kind in EXTRAS and not _installed(c.kind)})
    if missing:
        raise EnvironmentProblem(
            f"contenders of the kind {' and '.join(missing)} need a package of that name, which is not installed: "
            "pip install 'recsys-spark[benchmark]' (in a checkout: .venv/bin/pip install -e '.[benchmark]'), or name "
            "others with --contenders"
        )


def require_groups(contenders: Mapping[str, Contender], groups: Collection[str]) -> None:
    """Raise ConfigError where a contender wants a feature group that there is not."""
    for name, contender in contenders.items():
        unknown = [group for group in contender.groups or () if group not in groups]
        if unknown:
            raise ConfigError(
                f"benchmark.models.{name}.groups: no feature group {', '.join(unknown)}; this data set has "
                f"{', '.join(sorted(groups)) or 'none'}"
            )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _regs(options: BenchmarkSettings, contender: Contender) -> int:
    return len(options.regs if contender.regs == "all" else contender.regs)


def kept_folder(local: Path | None, slug: str) -> Path:
    """Where outcomes are kept: beside the records, or in the user's cache where the lake lies elsewhere."""
    if local is not None:
        return local / "processes"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "recsys_spark" / "benchmark" / slug
