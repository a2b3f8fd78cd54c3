"""Params of the estimator and the model, and their correspondence with the engine's settings. Driver."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import ValidationError
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasValidationIndicatorCol, HasWeightCol

from recsys_spark.als.settings import AlsSettings, Exchange, SideSettings
from recsys_spark.errors import ConfigError
from recsys_spark.ml.spark_params import AlsModelParams, AlsParams, make_param, one_of

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = "auto"
_P = TypeVar("_P", bound=type[Params])


def _group_map(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise TypeError(f"a dict of feature group to number is wanted, found {value!r}")
    return {TypeConverters.toString(k): TypeConverters.toFloat(v) for k, v in value.items()}


def _target(value: Any) -> str | float:
    return "baseline" if value == "baseline" else TypeConverters.toFloat(value)


def with_accessors(cls: _P) -> _P:
    """Give a class ``getX`` and ``setX`` of every Param x that has none yet."""
    for name in dir(cls):
        param = getattr(cls, name)
        if not isinstance(param, Param):
            continue
        for made in (_getter(name, param.doc), _setter(name, param.doc)):
            if not hasattr(cls, made.__name__):
                made.__qualname__, made.__module__ = f"{cls.__name__}.{made.__name__}", cls.__module__
                setattr(cls, made.__name__, made)
    return cls


def _getter(name: str, doc: str) -> Callable[[Any], Any]:
    def get(self: Params) -> Any:
        return self.getOrDefault(name)

    get.__name__, get.__doc__ = f"get{name[0].upper()}{name[1:]}", f"Value of {name}: {doc}."
    return get


def _setter(name: str, doc: str) -> Callable[[Any, Any], Any]:
    def set_(self: Params, value: Any) -> Any:
        return self._set(**{name: value})

    set_.__name__, set_.__doc__ = f"set{name[0].upper()}{name[1:]}", f"Set {name}: {doc}."
    return set_


def check_names(owner: Params, names: list[str]) -> None:
    """TypeError for a name that is no Param, with the nearest one that is."""
    known = [param.name for param in owner.params]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise TypeError(f"{type(owner).__name__} has no Param {name!r}; the nearest one is {near[0]}")


@with_accessors
class BlockAlsModelParams(AlsModelParams, HasWeightCol):
    """Params that the model shares with the estimator: Spark's, and those that folding in needs beside them."""

    ratingCol: Param[str] = make_param(
        "ratingCol", 'column of ratings; "" takes every rating as 1', TypeConverters.toString
    )
    clipPredictions: Param[bool] = make_param(
        "clipPredictions", "predictions stay within the scale of the ratings (clip)", TypeConverters.toBoolean
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(clipPredictions=True, ratingCol="rating")

    def getRatingCol(self) -> str:
        """Column of ratings."""
        return self.getOrDefault(self.ratingCol)

    def setRatingCol(self, value: str) -> Self:
        """Name the column of ratings; "" takes every rating as 1."""
        return self._set(ratingCol=value)

    def data_columns(self) -> dict[str, str]:
        """Columns of user, item, rating and weight, where there are such, by what the engine calls them."""
        wanted = {"user": self.getUserCol(), "item": self.getItemCol(), "rating": self.getRatingCol()}
        if self.isSet(self.weightCol):
            wanted["weight"] = self.getWeightCol()
        return {name: column for name, column in wanted.items() if column}


@with_accessors
class BlockAlsParams(AlsParams, BlockAlsModelParams, HasValidationIndicatorCol):
    """Params of the estimator: Spark's, and ours. λs are in the units of J: sums over ratings."""

    regUser: Param[float] = make_param(
        "regUser", "λ of the user factors (regParam where not set)", TypeConverters.toFloat
    )
    regItem: Param[float] = make_param(
        "regItem", "λ of the item factors (regParam where not set)", TypeConverters.toFloat
    )
    regUserBias: Param[float] = make_param("regUserBias", "λ of the user biases", TypeConverters.toFloat)
    regItemBias: Param[float] = make_param("regItemBias", "λ of the item biases", TypeConverters.toFloat)
    regModeUser: Param[str] = make_param(
        "regModeUser", "λ(n) of users: constant, weighted, inverse_sqrt", TypeConverters.toString
    )
    regModeItem: Param[str] = make_param(
        "regModeItem", "λ(n) of items: constant, weighted, inverse_sqrt", TypeConverters.toString
    )
    regUserPerRating: Param[float] = make_param(
        "regUserPerRating", "added to a user's λ(n) for each of its ratings", TypeConverters.toFloat
    )
    regItemPerRating: Param[float] = make_param(
        "regItemPerRating", "added to an item's λ(n) for each of its ratings", TypeConverters.toFloat
    )
    userBias: Param[str] = make_param(
        "userBias",
        "user biases: learned, static, none; auto: learned, none with implicitPrefs",
        TypeConverters.toString,
    )
    itemBias: Param[str] = make_param(
        "itemBias",
        "item biases: learned, static, none; auto: learned, none with implicitPrefs",
        TypeConverters.toString,
    )
    regUserFeatures: Param[float] = make_param(
        "regUserFeatures", "λ of the projection of user features into factors", TypeConverters.toFloat
    )
    regItemFeatures: Param[float] = make_param(
        "regItemFeatures", "λ of the projection of item features into factors", TypeConverters.toFloat
    )
    regUserFeatureBias: Param[float] = make_param(
        "regUserFeatureBias", "λ of the projection of user features into the bias", TypeConverters.toFloat
    )
    regItemFeatureBias: Param[float] = make_param(
        "regItemFeatureBias", "λ of the projection of item features into the bias", TypeConverters.toFloat
    )
    regUserGroups: Param[dict] = make_param(
        "regUserGroups", "multiplier of both λs for a user feature group", _group_map
    )
    regItemGroups: Param[dict] = make_param(
        "regItemGroups", "multiplier of both λs for an item feature group", _group_map
    )
    userGraphWeight: Param[float] = make_param(
        "userGraphWeight", "α of the users' graph (setUserGraph); 0: not used", TypeConverters.toFloat
    )
    itemGraphWeight: Param[float] = make_param(
        "itemGraphWeight", "α of the items' graph (setItemGraph); 0: not used", TypeConverters.toFloat
    )
    globalMean: Param[str] = make_param(
        "globalMean", "μ: fitted or none; auto: fitted, none with implicitPrefs", TypeConverters.toString
    )
    unobservedWeight: Param[float] = make_param(
        "unobservedWeight", "weight of each cell without a rating; 0: they cost nothing", TypeConverters.toFloat
    )
    unobservedTarget: Param[Any] = make_param(
        "unobservedTarget", "what such cells are expected to be: baseline (p·q near 0), or a number", _target
    )
    updateFeaturesEvery: Param[int] = make_param(
        "updateFeaturesEvery", "iterations between solves of the projections", TypeConverters.toInt
    )
    relaxation: Param[float] = make_param(
        "relaxation",
        "ω at most: how far items go, 1 being to their solution; beyond it takes fewer iterations",
        TypeConverters.toFloat,
    )
    tol: Param[float] = make_param("tol", "relative fall of the validation RMSE that counts", TypeConverters.toFloat)
    patience: Param[int] = make_param(
        "patience", "iterations without such a fall before stopping", TypeConverters.toInt
    )
    minIter: Param[int] = make_param("minIter", "iterations before stopping is considered", TypeConverters.toInt)
    execution: Param[str] = make_param(
        "execution",
        "where a fit runs: stages, task (one task: for small data), auto; it never changes the result",
        one_of("auto", "stages", "task"),
    )
    exchange: Param[str] = make_param(
        "exchange",
        "how rows reach the blocks that refer to them: broadcast (all of them, through the driver), shuffle (each "
        "block gets what it needs; needs a checkpointDir), mixed (shuffle, but broadcast for the side that has fewer "
        "rows), auto (by size); it never changes the result",
        one_of(AUTO, *get_args(Exchange)),
    )
    checkpointDir: Param[str] = make_param(
        "checkpointDir",
        "path or URI for checkpoints, from which a fit that was cut short goes on, and for the rows of models whose "
        "exchange was shuffle or mixed",
        TypeConverters.toString,
    )
    clip: Param[list] = make_param(
        "clip",
        "[low, high] that predictions are clipped to; unset: the training ratings' range",
        TypeConverters.toListFloat,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        side = SideSettings()
        self._setDefault(
            execution=AUTO, exchange=AUTO, globalMean=AUTO, userBias=AUTO, itemBias=AUTO, regModeUser="weighted",
            regModeItem="weighted", regUserPerRating=0.0, regItemPerRating=0.0, regUserBias=side.reg_bias,
            regItemBias=side.reg_bias,
            regUserFeatures=side.reg_features, regItemFeatures=side.reg_features,
            regUserFeatureBias=side.reg_feature_bias, regItemFeatureBias=side.reg_feature_bias, regUserGroups={},
            regItemGroups={}, userGraphWeight=0.0, itemGraphWeight=0.0, unobservedWeight=0.0,
            unobservedTarget="baseline", updateFeaturesEvery=1, relaxation=1.9, tol=1e-4, patience=3, minIter=3,
        )  # fmt: skip

    def getExecution(self) -> str:
        """Where a fit runs: auto, stages or task."""
        return self.getOrDefault(self.execution)

    def getExchange(self) -> str:
        """How rows reach blocks: auto, broadcast, mixed or shuffle."""
        return self.getOrDefault(self.exchange)

    def settings(self) -> AlsSettings:
        """The engine's settings that the Params stand for.

        Raises
        ------
        ConfigError
            Values that the engine does not take, all in one message, by the names of the Params.
        """
        tree: dict[str, Any] = {}
        for name, path in SETTINGS_OF.items():
            if self.isDefined(name) and self.getOrDefault(name) != AUTO:
                _put(tree, path, self.getOrDefault(name))
        for side, own in (("user", self.regUser), ("item", self.regItem)):
            if not self.isDefined(own):
                _put(tree, f"{side}.reg", self.getOrDefault(self.regParam))
        try:
            return AlsSettings.model_validate(tree)
        except ValidationError as error:
            names = {path: name for name, path in SETTINGS_OF.items()}
            places = [(".".join(map(str, e["loc"])), e) for e in error.errors()]
            found = [f"{names.get(path, path)}: {e['msg']}, found {e['input']!r}" for path, e in places]
            raise ConfigError("; ".join(found)) from None

    def _set_settings(self, settings: AlsSettings) -> None:
        for name, path in SETTINGS_OF.items():
            value = _get(settings, path)
            if value is not None and value != {}:
                self.set(self.getParam(name), list(value) if isinstance(value, tuple) else value)


SETTINGS_OF = {
    "rank": "rank",
    "maxIter": "max_iter",
    "seed": "seed",
    "globalMean": "mean",
    "relaxation": "relaxation",
    "updateFeaturesEvery": "update_features_every",
    "clip": "clip",
    "tol": "stop.tol",
    "patience": "stop.patience",
    "minIter": "stop.min_iter",
    "regUser": "user.reg",
    "regItem": "item.reg",
    "regUserBias": "user.reg_bias",
    "regItemBias": "item.reg_bias",
    "regModeUser": "user.reg_mode",
    "regModeItem": "item.reg_mode",
    "regUserPerRating": "user.reg_per_rating",
    "regItemPerRating": "item.reg_per_rating",
    "userBias": "user.bias",
    "itemBias": "item.bias",
    "regUserFeatures": "user.reg_features",
    "regItemFeatures": "item.reg_features",
    "regUserFeatureBias": "user.reg_feature_bias",
    "regItemFeatureBias": "item.reg_feature_bias",
    "userGraphWeight": "user.graph",
    "itemGraphWeight": "item.graph",
    "nonnegative": "nonnegative",
    "implicitPrefs": "implicit.prefs",
    "alpha": "implicit.alpha",
    "unobservedWeight": "unobserved.weight",
    "unobservedTarget": "unobserved.target",
    "regUserGroups": "user.reg_groups",
    "regItemGroups": "item.reg_groups",
}
"""Param by Param, the field of `AlsSettings` that it stands for."""


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *folders, leaf = path.split(".")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[leaf] = value


def _get(settings: AlsSettings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value
