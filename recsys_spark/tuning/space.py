"""Between a search space and Optuna: asking a trial for values, reading them back. Needs no Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recsys_spark.config import Dimension

if TYPE_CHECKING:
    import optuna


def suggest(trial: optuna.Trial, space: Mapping[str, Dimension], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Values of all dimensions that a trial is to have, in the order of the space.

    Parameters
    ----------
    fixed : settings by dotted name that are not searched: they count where a dimension asks ``when``
    """
    known: dict[str, Any] = {}
    for name, dimension in space.items():
        if not _wanted(dimension, known, fixed):
            continue
        known[name] = _suggest(trial, name, dimension)
    return known


def values(params: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    """What `suggest` returned, from the parameters that Optuna has kept."""
    return {name: _choice(space[name], value) if space[name].choices else value for name, value in params.items()}


def labels(params: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    """The inverse of `values`, of those that the space has and that lie in it: what a trial can be told to begin with.

    Numbers out of a range are brought to its end.
    """
    out: dict[str, Any] = {}
    for name, value in params.items():
        dimension = space.get(name)
        if dimension is None:
            continue
        if dimension.choices:
            if value in dimension.choices:
                out[name] = _label(value)
        elif dimension.low is not None and dimension.high is not None:
            out[name] = min(max(value, dimension.low), dimension.high)
    return out


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if dimension.choices:
        return _choice(dimension, trial.suggest_categorical(name, [_label(choice) for choice in dimension.choices]))
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.whole:
        return trial.suggest_int(name, round(dimension.low), round(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _wanted(dimension: Dimension, known: Mapping[str, Any], fixed: Mapping[str, Any]) -> bool:
    return all(known.get(name, fixed.get(name)) in allowed for name, allowed in dimension.when.items())


def _label(choice: Any) -> Any:
    """A choice as Optuna keeps it: a list or mapping as its JSON."""
    return json.dumps(choice, sort_keys=True) if isinstance(choice, (list, tuple, dict)) else choice


def _choice(dimension: Dimension, label: Any) -> Any:
    return next(choice for choice in dimension.choices if _label(choice) == label)
