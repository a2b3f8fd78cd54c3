"""One Optuna study as a sequence of trials that an interruption does not change; driver.

Before each trial the sampler is made anew from (seed, trials finished), so what is asked for depends on the finished
trials alone. A trial that is found running was cut short: it is marked failed, which the sampler and the pruner do not
look at, and its parameters are asked for again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from recsys_spark.config import Dimension
from recsys_spark.tuning.space import labels, suggest, values

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_ASKED, _ITERATIONS, _CURVE = "asked", "iterations", "curve"


@dataclass(frozen=True)
class Outcome:
    """A finished trial.

    Attributes
    ----------
    number : its place among the finished ones, from 0
    value : mean RMSE over folds after `iterations`, the best number of them
    curve : the mean after each iteration that was run
    """

    number: int
    params: dict[str, Any]
    value: float
    iterations: int
    pruned: bool
    curve: tuple[float, ...]


class TrialSequence:
    """A named study in a storage, opened or made.

    Parameters
    ----------
    space : dimensions, in the order in which they are asked for
    settled : see `space.suggest`
    first : parameters that the first trial has, as far as the space has them; the sampler chooses the others
    startup : random trials before the sampler and the pruner begin
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        name: str,
        space: Mapping[str, Dimension],
        settled: Mapping[str, Any],
        *,
        seed: int,
        startup: int,
        first: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.space, self._settled, self._seed, self._startup = (
            name,
            dict(space),
            dict(settled),
            seed,
            startup,
        )
        self._first = labels(first or {}, self.space)
        self.study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=startup),
            load_if_exists=True,
        )
        self._recover()

    @property
    def finished(self) -> int:
        """Trials that are complete or pruned."""
        return len(self._trials())

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """The next trial and its parameters."""
        done = self.finished
        self.study.sampler = optuna.samplers.TPESampler(
            seed=_mixed(self._seed, self.name, done), n_startup_trials=self._startup
        )
        if not done and self._first and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(self._first)
        trial = self.study.ask()
        params = suggest(trial, self.space, self._settled)
        trial.set_user_attr(_ASKED, True)
        return trial, params

    def complete(self, trial: optuna.Trial, curve: Sequence[float]) -> None:
        """Finish a trial; its value is the least of its curve."""
        best = min(range(len(curve)), key=curve.__getitem__)
        self._note(trial, curve, best)
        self.study.tell(trial, curve[best])

    def prune(self, trial: optuna.Trial, curve: Sequence[float]) -> None:
        """End a trial that will not be the best."""
        self._note(trial, curve, min(range(len(curve)), key=curve.__getitem__))
        self.study.tell(trial, state=TrialState.PRUNED)

    def outcomes(self) -> list[Outcome]:
        """Finished trials, in order."""
        return [
            Outcome(
                number=at,
                params=values(trial.params, self.space),
                value=min(trial.user_attrs[_CURVE]),
                iterations=trial.user_attrs[_ITERATIONS],
                pruned=trial.state == TrialState.PRUNED,
                curve=tuple(trial.user_attrs[_CURVE]),
            )
            for at, trial in enumerate(self._trials())
        ]

    def best(self) -> Outcome:
        """The best complete trial, the first of equals."""
        return min((found for found in self.outcomes() if not found.pruned), key=lambda found: found.value)

    def importances(self) -> dict[str, float]:
        """Share of each parameter in the spread of values (PED-ANOVA), largest first; none of a handful of trials."""
        if len([t for t in self._trials() if t.state == TrialState.COMPLETE]) < 2:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # values that do not differ
            return {}

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=_FINISHED)

    def _note(self, trial: optuna.Trial, curve: Sequence[float], best: int) -> None:
        trial.set_user_attr(_CURVE, list(curve))
        trial.set_user_attr(_ITERATIONS, best + 1)

    def _recover(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            if _ASKED in trial.user_attrs:  # else the sampler had not finished, and will choose the same again
                self.study.enqueue_trial(trial.params)


def _mixed(seed: int, name: str, done: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}/{done}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
