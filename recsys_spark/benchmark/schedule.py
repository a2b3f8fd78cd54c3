"""What a process is asked, and how many there will be. Driver; no session of Spark is open meanwhile."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.kept import Failure, Kept
from recsys_spark.benchmark.launch import Measured, measure
from recsys_spark.benchmark.progress import Progress
from recsys_spark.benchmark.spec import EXCHANGES, FitOrder, Plan, SparkChoice, Spec
from recsys_spark.config import BenchmarkSettings, Contender, Settings, Variant
from recsys_spark.config.benchmark import ON_SPARK
from recsys_spark.errors import ConfigError, EnvironmentProblem
from recsys_spark.tuning.candidate import candidate

log = logging.getLogger(__name__)

EXTRAS = ("cmfrec", "implicit")
"""Kinds whose package is an extra, and has their name."""


@dataclass(frozen=True)
class Trial:
    """One setting of pyspark.ml.ALS that was tried; seconds.

    Attributes
    ----------
    reg : λ of the fit, which its time does not depend on
    build : T(0), the first fit of the process
    fit : of the whole fit after it
    """

    choice: SparkChoice
    reg: float | None
    build: float
    fit: float


@dataclass
class Found:
    """All that was measured, by contender.

    Attributes
    ----------
    runs : one a repeat, in order
    cold : the first fit of BlockALS where no kernel was compiled before; of others what they have to compile beside
    regs : RMSE on validation by λ that was tried (on the test fold where nothing is held out)
    best : the λ that is measured; None: as the settings say
    trials : settings of pyspark.ml.ALS, empty where there was but one
    heaps : (MiB, whether it completed, seconds), as they were tried
    scaled : by what was varied
    relaxed : a fit of many iterations by its relaxation, without any first
    weak : (exchange, executors, fits on so many)
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
    weak: list[tuple[str, int, Measured]] = field(default_factory=list)


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
            cores=cores_of(self.options),
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


def cores_of(options: BenchmarkSettings) -> int:
    """Cores of each measured process."""
    return options.cores or len(os.sched_getaffinity(0))


def spark_of(options: BenchmarkSettings) -> str | None:
    """The contender that pyspark.ml.ALS's blocks are chosen with, the first of its kind; None: it is not measured."""
    if not {"compare", "curves", "heap", "scaling"} & set(options.sections):
        return None
    return next((name for name, contender in options.chosen.items() if contender.kind == "pyspark"), None)


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
    trials = len(options.blocks) + len(options.cache) - 1
    trials = trials if trials > 1 and spark_of(options) is not None else 0
    total += trials
    if {"compare", "curves"} & set(options.sections):
        searched = [name for name, contender in chosen.items() if len(regs_of(options, contender)) > 1]
        every = [name for name in searched if name == spark_of(options) and trials >= len(options.regs)]
        total += len(searched) - len(every)
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
    if "weak" in options.sections:
        total += len(EXCHANGES) * len(options.executors)
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


def regs_of(options: BenchmarkSettings, contender: Contender) -> tuple[float, ...]:
    """λs that a contender is tried with, ascending; none: as its settings say."""
    return tuple(sorted(options.regs if contender.regs == "all" else contender.regs))


def kept_folder(local: Path | None, slug: str) -> Path:
    """Where outcomes are kept: beside the records, or in the user's cache where the lake lies elsewhere."""
    if local is not None:
        return local / "processes"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "recsys_spark" / "benchmark" / slug
