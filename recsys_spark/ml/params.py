"""Params of the estimator and the model, and their correspondence with the engine's settings. Driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasCheckpointInterval,
    HasMaxIter,
    HasPredictionCol,
    HasRegParam,
    HasSeed,
    HasValidationIndicatorCol,
    HasWeightCol,
)

from recsys_spark.als.settings import AlsSettings
from recsys_spark.errors import ConfigError

COLD_START = ("nan", "drop", "fallback")


def _one_of(*choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = TypeConverters.toString(value).lower()
        if text not in choices:
            raise TypeError(f"{value!r} is not one of {', '.join(choices)}")
        return text

    return convert


def _group_map(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise TypeError(f"a dict of feature group to number is wanted, found {value!r}")
    return {TypeConverters.toString(k): TypeConverters.toFloat(v) for k, v in value.items()}


def _target(value: Any) -> str | float:
    return "baseline" if value == "baseline" else TypeConverters.toFloat(value)


def _param(name: str, doc: str, converter: Callable[[Any], Any]) -> Any:
    return Param(Params._dummy(), name, doc, typeConverter=converter)


class BlockAlsModelParams(HasPredictionCol):
    """Params that the model shares with the estimator."""

    userCol: Param[str] = _param("userCol", "column of user ids (integers or strings)", TypeConverters.toString)
    itemCol: Param[str] = _param("itemCol", "column of item ids (integers or strings)", TypeConverters.toString)
    coldStartStrategy: Param[str] = _param(
        "coldStartStrategy",
        "prediction for a user or item the model does not know: nan, drop (the row), or fallback (mean and known bias)",
        _one_of(*COLD_START),
    )

    def getUserCol(self) -> str:
        """Column of user ids."""
        return self.getOrDefault(self.userCol)

    def getItemCol(self) -> str:
        """Column of item ids."""
        return self.getOrDefault(self.itemCol)

    def getColdStartStrategy(self) -> str:
        """What an unknown user or item gets."""
        return self.getOrDefault(self.coldStartStrategy)


class BlockAlsParams(
    BlockAlsModelParams,
    HasCheckpointInterval,
    HasMaxIter,
    HasRegParam,
    HasSeed,
    HasWeightCol,
    HasValidationIndicatorCol,
):
    """Params of the estimator. λs are in the units of J: sums over ratings."""

    ratingCol: Param[str] = _param("ratingCol", "column of ratings", TypeConverters.toString)
    rank: Param[int] = _param("rank", "width of the factors; 0 is a model of biases alone", TypeConverters.toInt)
    numUserBlocks: Param[int] = _param("numUserBlocks", "user blocks; 0: one for each core", TypeConverters.toInt)
    numItemBlocks: Param[int] = _param("numItemBlocks", "item blocks; 0: one for each core", TypeConverters.toInt)
    regUser: Param[float] = _param("regUser", "λ of the user factors (regParam where not set)", TypeConverters.toFloat)
    regItem: Param[float] = _param("regItem", "λ of the item factors (regParam where not set)", TypeConverters.toFloat)
    regUserBias: Param[float] = _param("regUserBias", "λ of the user biases", TypeConverters.toFloat)
    regItemBias: Param[float] = _param("regItemBias", "λ of the item biases", TypeConverters.toFloat)
    regModeUser: Param[str] = _param(
        "regModeUser", "λ(n) of users: constant, weighted, inverse_sqrt", TypeConverters.toString
    )
    regModeItem: Param[str] = _param(
        "regModeItem", "λ(n) of items: constant, weighted, inverse_sqrt", TypeConverters.toString
    )
    userBias: Param[str] = _param(
        "userBias", "user biases: learned (none with implicitPrefs), static, none", TypeConverters.toString
    )
    itemBias: Param[str] = _param(
        "itemBias", "item biases: learned (none with implicitPrefs), static, none", TypeConverters.toString
    )
    regUserFeatures: Param[float] = _param(
        "regUserFeatures", "λ of the projection of user features into factors", TypeConverters.toFloat
    )
    regItemFeatures: Param[float] = _param(
        "regItemFeatures", "λ of the projection of item features into factors", TypeConverters.toFloat
    )
    regUserFeatureBias: Param[float] = _param(
        "regUserFeatureBias", "λ of the projection of user features into the bias", TypeConverters.toFloat
    )
    regItemFeatureBias: Param[float] = _param(
        "regItemFeatureBias", "λ of the projection of item features into the bias", TypeConverters.toFloat
    )
    regUserGroups: Param[dict] = _param("regUserGroups", "multiplier of both λs for a user feature group", _group_map)
    regItemGroups: Param[dict] = _param("regItemGroups", "multiplier of both λs for an item feature group", _group_map)
    userGraphWeight: Param[float] = _param(
        "userGraphWeight", "α of the users' graph (setUserGraph); 0: not used", TypeConverters.toFloat
    )
    itemGraphWeight: Param[float] = _param(
        "itemGraphWeight", "α of the items' graph (setItemGraph); 0: not used", TypeConverters.toFloat
    )
    globalMean: Param[str] = _param(
        "globalMean", "μ: fitted or none (unset: none with implicitPrefs)", TypeConverters.toString
    )
    nonnegative: Param[bool] = _param(
        "nonnegative", "factors are not negative; biases may be", TypeConverters.toBoolean
    )
    implicitPrefs: Param[bool] = _param(
        "implicitPrefs", "ratings are confidences of a preference, 1 if r > 0 else 0", TypeConverters.toBoolean
    )
    alpha: Param[float] = _param(
        "alpha", "α of implicitPrefs: the confidence of a rating is 1 + α|r|", TypeConverters.toFloat
    )
    unobservedWeight: Param[float] = _param(
        "unobservedWeight", "weight of each cell without a rating; 0: they cost nothing", TypeConverters.toFloat
    )
    unobservedTarget: Param[Any] = _param(
        "unobservedTarget", "what such cells are expected to be: baseline (p·q near 0), or a number", _target
    )
    updateFeaturesEvery: Param[int] = _param(
        "updateFeaturesEvery", "iterations between solves of the projections", TypeConverters.toInt
    )
    tol: Param[float] = _param("tol", "relative fall of the validation RMSE that counts", TypeConverters.toFloat)
    patience: Param[int] = _param("patience", "iterations without such a fall before stopping", TypeConverters.toInt)
    minIter: Param[int] = _param("minIter", "iterations before stopping is considered", TypeConverters.toInt)
    execution: Param[str] = _param(
        "execution",
        "where a fit runs: stages, task (one task: for small data), auto; it never changes the result",
        _one_of("auto", "stages", "task"),
    )
    checkpointDir: Param[str] = _param(
        "checkpointDir",
        "path or URI for checkpoints, from which a fit that was cut short goes on",
        TypeConverters.toString,
    )
    clip: Param[list] = _param(
        "clip",
        "[low, high] that predictions are clipped to; unset: the training ratings' range",
        TypeConverters.toListFloat,
    )

    def getExecution(self) -> str:
        """Where a fit runs: auto, stages or task."""
        return self.getOrDefault(self.execution)

    def getRank(self) -> int:
        """Width of the factors."""
        return self.getOrDefault(self.rank)

    def getRatingCol(self) -> str:
        """Column of ratings."""
        return self.getOrDefault(self.ratingCol)

    def getNumUserBlocks(self) -> int:
        """User blocks; 0 is one for each core."""
        return self.getOrDefault(self.numUserBlocks)

    def getNumItemBlocks(self) -> int:
        """Item blocks; 0 is one for each core."""
        return self.getOrDefault(self.numItemBlocks)

    def settings(self) -> AlsSettings:
        """The engine's settings that the Params stand for.

        Raises
        ------
        ConfigError
            Values that the engine does not take, all in one message, by the names of the Params.
        """
        tree: dict[str, Any] = {}
        for name, path in SETTINGS_OF.items():
            if self.isDefined(name):
                _put(tree, path, self.getOrDefault(name))
        if self.isDefined(self.regParam):
            for side, own in (("user", self.regUser), ("item", self.regItem)):
                if not self.isSet(own):
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
