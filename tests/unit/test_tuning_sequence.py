"""Searches: what an interruption changes (nothing), what the pruner sees, what a timeout leaves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import optuna
import pytest

from recsys_spark.config import Dimension, Settings, Variant
from recsys_spark.tuning.candidate import candidate
from recsys_spark.tuning.fitting import Chunk
from recsys_spark.tuning.lab import Fit
from recsys_spark.tuning.search import Search, run_searches
from recsys_spark.tuning.sequence import TrialSequence

SPACE = {
    "rank": Dimension(keys=("train.rank",), low=2, high=40, whole=True),
    "mode": Dimension(keys=("train.item.reg_mode",), choices=("constant", "weighted")),
    "reg": Dimension(keys=("train.item.reg",), low=1, high=50, log=True, when={"mode": ("constant",)}),
    "reg_n": Dimension(keys=("train.item.reg",), low=0.01, high=1, log=True, when={"mode": ("weighted",)}),
    "graph": Dimension(keys=("blocks.item_graph.groups",), choices=(["genre"], ["genre", "year"])),
}
CHUNKS = 3


class Killed(Exception):
    pass


class Bench:
    """A fitter without fits: an error that depends on candidate, fold and iteration; dies at the given call."""

    def __init__(self, dies_at: int = -1) -> None:
        self.calls, self.dies_at = 0, dies_at

    def advance(self, fits: Sequence[Fit]) -> list[Chunk]:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        return [self.chunk(fit) for fit in fits]

    def chunk(self, fit: Fit) -> Chunk:
        done = fit.at or 0
        train = fit.candidate.train
        error = 0.8 + abs(train.rank - 17) / 100 + abs(train.item.reg - 9) / 1000 + 0.001 * len(fit.fold)
        curve = tuple(error + 0.1 / (done * 2 + i) for i in (1, 2))
        return Chunk(curve, done + 1 if done + 1 < CHUNKS else None)


def searches(home: Path) -> list[Search]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{home}/trials.db")
    made = partial(candidate, Settings(), SPACE, Variant())
    found = []
    for name in ("one", "two"):
        trials = TrialSequence(storage, name, SPACE, {}, seed=5, startup=3, first={"rank": 30, "mode": "weighted"})
        found.append(Search(trials, ("a", "bb"), made))
    return found


def result(found: list[Search]) -> list:
    return [search.trials.outcomes() for search in found]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list:
    found = searches(tmp_path_factory.mktemp("undisturbed"))
    run_searches(Bench(), found, 8)
    return result(found)


def test_a_search_gets_better_and_begins_as_it_is_told(undisturbed: list) -> None:
    for trials in undisturbed:
        assert len(trials) == 8
        assert (trials[0].params["rank"], trials[0].params["mode"]) == (30, "weighted")
        assert any(trial.pruned for trial in trials)
        assert min(trial.value for trial in trials[3:]) < trials[0].value
        assert all(("reg" in t.params) == (t.params["mode"] == "constant") for t in trials)
        assert all(("reg_n" in t.params) == (t.params["mode"] == "weighted") for t in trials)
        assert {type(t.params["graph"]) for t in trials} == {list}
    assert undisturbed[0] != undisturbed[1]  # each search has its own random numbers


@pytest.mark.parametrize("deaths", [(1,), (2, 3), (7, 1, 5, 4)], ids=str)
def test_a_search_that_was_cut_short_goes_on_to_the_same_trials(
    deaths: tuple[int, ...], undisturbed: list, tmp_path: Path
) -> None:
    for death in deaths:
        with pytest.raises(Killed):
            run_searches(Bench(death), searches(tmp_path), 8)
    found = searches(tmp_path)
    run_searches(Bench(), found, 8)
    assert result(found) == undisturbed
    failed = found[0].trials.study.get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert len(failed) == len(deaths)
    assert not found[0].trials.study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


def test_a_trial_that_died_while_it_was_asked_for_is_asked_for_again(
    undisturbed: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = optuna.Trial.suggest_categorical

    def die(self: optuna.Trial, name: str, choices: Sequence) -> object:
        if name == "graph":
            raise Killed
        return whole(self, name, choices)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "suggest_categorical", die)
        for _ in range(2):
            with pytest.raises(Killed):
                run_searches(Bench(), searches(tmp_path), 8)
    found = searches(tmp_path)
    run_searches(Bench(), found, 8)
    assert result(found) == undisturbed


def test_more_trials_go_on_from_those_there_are(undisturbed: list, tmp_path: Path) -> None:
    run_searches(Bench(), searches(tmp_path), 3)
    found = searches(tmp_path)
    run_searches(Bench(), found, 8)
    assert result(found) == undisturbed


def test_a_timeout_leaves_each_search_its_first_trial(undisturbed: list, tmp_path: Path) -> None:
    found = searches(tmp_path)
    run_searches(Bench(), found, 8, timeout=0.0)
    assert result(found) == [trials[:1] for trials in undisturbed]


def test_a_trial_is_worth_its_best_iteration(tmp_path: Path) -> None:
    (search, _) = searches(tmp_path)
    trial, _ = search.trials.ask()
    search.trials.complete(trial, [0.9, 0.7, 0.8])
    best = search.trials.best()
    assert (best.value, best.iterations, best.curve) == (0.7, 2, (0.9, 0.7, 0.8))
    assert search.trials.importances() == {}
