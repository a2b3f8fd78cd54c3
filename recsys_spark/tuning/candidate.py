"""What one fit is asked to be: a variant of the model with parameters put in; plain data, no Spark here."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any, NamedTuple

from pydantic import ValidationError

from recsys_spark.als.settings import AlsSettings
from recsys_spark.config import Dimension, GraphSpec, Settings, Variant
from recsys_spark.errors import ConfigError

Params = Mapping[str, Any]
"""Values by the name of their dimension."""


class Candidate(NamedTuple):
    """All that decides a fit beside its ratings; small, travels to tasks.

    Attributes
    ----------
    train : of the fit
    groups : feature groups that it has; None: all there are
    graph : edges between items; None: none
    pyspark : rank and regParam of pyspark.ml.ALS, which is then fitted instead
    """

    train: AlsSettings
    groups: tuple[str, ...] | None = None
    graph: GraphSpec | None = None
    pyspark: tuple[int, float] | None = None

    def for_iterations(self, iterations: int) -> Candidate:
        """The same, fitted for so many iterations."""
        return self._replace(train=self.train.model_copy(update={"max_iter": iterations}))


def dimensions(space: Mapping[str, Dimension | None], variant: Variant) -> dict[str, Dimension]:
    """The dimensions that are left to search: those of the space that the variant neither sets nor declares fixed."""
    chosen = variant.space or space
    return {
        name: dimension
        for name, dimension in chosen.items()
        if dimension is not None
        and not any(fnmatch(name, pattern) for pattern in variant.fixed)
        and not any(_covers(given, key) for given in variant.set for key in dimension.keys)
    }


def settled(space: Mapping[str, Dimension | None], variant: Variant) -> dict[str, Any]:
    """Values that the variant gives to dimensions itself, by their name: other dimensions may depend on them."""
    named = {name: dimension for name, dimension in space.items() if dimension is not None}
    return {n: variant.set[d.keys[0]] for n, d in named.items() if d.keys[0] in variant.set}


def first_params(settings: Settings, variant: Variant, best: Params) -> dict[str, Any]:
    """Where a variant's own search begins: at another's best, in dimensions of its own at what is configured."""
    tree = settings.model_dump(mode="json")
    own = {name: _get(tree, d.keys[0]) for name, d in (variant.space or {}).items() if d is not None}
    return {**best, **{name: value for name, value in own.items() if value is not None}}


def candidate(settings: Settings, space: Mapping[str, Dimension | None], variant: Variant, params: Params) -> Candidate:
    """The settings with the parameters in them, and what the variant sets on top.

    Parameters
    ----------
    params : values of dimensions of `space` or of the variant's own; those that are not left to it play no part

    Raises
    ------
    ConfigError
        A parameter or the variant sets what is no setting, or to what it cannot be.
    """
    tree = settings.model_dump(mode="json", include={"train", "blocks", "evaluate"})
    for name, dimension in dimensions(space, variant).items():
        if name in params:
            for key in dimension.keys:
                _put(tree, key, params[name])
    for key, value in variant.set.items():
        _put(tree, key, copy.deepcopy(value))
    if variant.groups is not None:
        for side in ("user", "item"):
            kept = tree["train"][side]["reg_groups"]
            tree["train"][side]["reg_groups"] = {name: kept[name] for name in kept if name in variant.groups}
    try:
        made = Settings.model_validate(tree)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise ConfigError(f"parameters and variant cannot be used together: {found}") from None
    pyspark = made.evaluate.pyspark
    return Candidate(
        train=made.train,
        groups=variant.groups,
        graph=made.blocks.item_graph if made.train.item.graph else None,
        pyspark=(pyspark.rank, pyspark.reg) if variant.model == "pyspark_als" else None,
    )


def overrides(space: Mapping[str, Dimension | None], params: Params) -> dict[str, Any]:
    """The parameters as a tree of settings, as ``--config`` reads it."""
    tree: dict[str, Any] = {}
    for name, value in params.items():
        dimension = space[name]
        for key in dimension.keys if dimension else ():
            _put(tree, key, value)
    return tree


def _covers(given: str, key: str) -> bool:
    return key == given or key.startswith(f"{given}.")


def _get(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value
