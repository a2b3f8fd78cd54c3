"""Many searches at once: each its own sequence of trials, one trial of each under way, all of them in the same tasks.

So cores stay busy although a search asks for its trials one after another, which is what makes it repeatable.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from recsys_spark.als.checkpoint import Checkpoint
from recsys_spark.tuning.candidate import Candidate
from recsys_spark.tuning.fitting import Chunk
from recsys_spark.tuning.lab import Fit
from recsys_spark.tuning.sequence import TrialSequence

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class Fitter(Protocol):
    """Advances fits by a chunk: `Lab`, or what stands in for it."""

    def advance(self, fits: Sequence[Fit]) -> list[Chunk]:
        """The next chunk of each fit."""


@dataclass(frozen=True)
class Search:
    """What is searched: a sequence of trials, each scored by the mean over some folds.

    Attributes
    ----------
    make : a candidate from parameters
    """

    trials: TrialSequence
    folds: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], Candidate]

    @property
    def name(self) -> str:
        """That of the sequence."""
        return self.trials.name


@dataclass
class _Running:
    """A trial under way; `at`: where the fit of each fold stands."""

    search: Search
    trial: optuna.Trial
    candidate: Candidate
    at: list[Checkpoint | None]
    curve: list[float] = field(default_factory=list)
    over: bool = False

    def fits(self) -> list[Fit]:
        return [Fit(fold, self.candidate, at) for fold, at in zip(self.search.folds, self.at, strict=True)]

    def take(self, chunks: Sequence[Chunk]) -> None:
        """Add a chunk of every fold; end the trial where it is done or not worth going on."""
        self.curve += [math.fsum(at) / len(at) for at in zip(*(chunk.curve for chunk in chunks), strict=True)]
        self.at = [chunk.at for chunk in chunks]
        if all(at is None for at in self.at):
            self.search.trials.complete(self.trial, self.curve)
            self.over = True
            return
        self.trial.report(min(self.curve), len(self.curve))
        if self.trial.should_prune():
            self.search.trials.prune(self.trial, self.curve)
            self.over = True


def run_searches(fitter: Fitter, searches: Sequence[Search], n_trials: int, timeout: float | None = None) -> None:
    """Bring every search to ``n_trials`` finished trials, or as far as the time goes.

    Whatever interrupts it, the same call goes on to the same trials.

    Parameters
    ----------
    timeout : seconds after which no trial begins, but each search's first; None: no limit

    Raises
    ------
    RecsysError
        What a fit raises; the trial then counts as not run.
    """
    began, done = time.monotonic(), 0
    while True:
        late = timeout is not None and time.monotonic() - began >= timeout
        wanting = [s for s in searches if s.trials.finished < (1 if late else n_trials)]
        if not wanting:
            return
        running = [_begin(search) for search in wanting]
        while open_ := [trial for trial in running if not trial.over]:
            chunks = iter(fitter.advance([fit for trial in open_ for fit in trial.fits()]))
            for trial in open_:
                trial.take([next(chunks) for _ in trial.search.folds])
        done += 1
        log.info(
            "round %d of trials, %d searches: %s",
            done,
            len(wanting),
            ", ".join(f"{t.search.name.rsplit('@', 1)[0]} {min(t.curve):.4f}" for t in running[:8]),
        )


def _begin(search: Search) -> _Running:
    trial, params = search.trials.ask()
    return _Running(search, trial, search.make(params), [None] * len(search.folds))
