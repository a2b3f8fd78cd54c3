"""Params of pyspark.ml.recommendation.ALS and ALSModel: the same names, defaults, getters and setters. Driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyspark import StorageLevel
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasBlockSize,
    HasCheckpointInterval,
    HasMaxIter,
    HasPredictionCol,
    HasRegParam,
    HasSeed,
)

if TYPE_CHECKING:
    from typing_extensions import Self

COLD_START = ("nan", "drop", "fallback")
SEED = 1994790107
"""Spark's own default, the hash of its class's name in Scala: pyspark's differs from process to process."""

_LEVELS = sorted(name for name, level in vars(StorageLevel).items() if isinstance(level, StorageLevel))


def make_param(name: str, doc: str, converter: Callable[[Any], Any]) -> Any:
    """A Param for a class's body."""
    return Param(Params._dummy(), name, doc, typeConverter=converter)


def one_of(*choices: str) -> Callable[[Any], str]:
    """A converter that takes some words, in any case."""

    def convert(value: Any) -> str:
        text = TypeConverters.toString(value).lower()
        if text not in choices:
            raise TypeError(f"{value!r} is not one of {', '.join(choices)}")
        return text

    return convert


def _level(*, none: bool) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = TypeConverters.toString(value)
        known = [name for name in _LEVELS if none or name != "NONE"]
        if text not in known:
            raise TypeError(f"{value!r} is not one of {', '.join(known)}")
        return text

    return convert


class AlsModelParams(HasPredictionCol, HasBlockSize):
    """Params that Spark's model shares with its estimator."""

    userCol: Param[str] = make_param(
        "userCol", "column of user ids: integers, strings, or numbers that are whole", TypeConverters.toString
    )
    itemCol: Param[str] = make_param(
        "itemCol", "column of item ids: integers, strings, or numbers that are whole", TypeConverters.toString
    )
    coldStartStrategy: Param[str] = make_param(
        "coldStartStrategy",
        "prediction for a user or item the model does not know: nan, drop (the row), or fallback (mean and known bias)",
        one_of(*COLD_START),
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(userCol="user", itemCol="item", coldStartStrategy="nan", blockSize=4096)

    def getUserCol(self) -> str:
        """Column of user ids."""
        return self.getOrDefault(self.userCol)

    def setUserCol(self, value: str) -> Self:
        """Name the column of user ids."""
        return self._set(userCol=value)

    def getItemCol(self) -> str:
        """Column of item ids."""
        return self.getOrDefault(self.itemCol)

    def setItemCol(self, value: str) -> Self:
        """Name the column of item ids."""
        return self._set(itemCol=value)

    def getColdStartStrategy(self) -> str:
        """What an unknown user or item gets."""
        return self.getOrDefault(self.coldStartStrategy)

    def setColdStartStrategy(self, value: str) -> Self:
        """nan, drop or fallback."""
        return self._set(coldStartStrategy=value)

    def setPredictionCol(self, value: str) -> Self:
        """Name the column that `transform` adds."""
        return self._set(predictionCol=value)

    def setBlockSize(self, value: int) -> Self:
        """Taken for Spark's sake; products are cut to fit the processor's caches, and no result depends on it."""
        return self._set(blockSize=value)


class AlsParams(AlsModelParams, HasMaxIter, HasRegParam, HasCheckpointInterval, HasSeed):
    """Params of Spark's estimator, with Spark's defaults."""

    rank: Param[int] = make_param("rank", "width of the factors; 0 is a model of biases alone", TypeConverters.toInt)
    numUserBlocks: Param[int] = make_param(
        "numUserBlocks",
        "user blocks; where not set, or 0, from the ratings and the cores. It never changes the result",
        TypeConverters.toInt,
    )
    numItemBlocks: Param[int] = make_param(
        "numItemBlocks",
        "item blocks; where not set, or 0, from the ratings and the cores. It never changes the result",
        TypeConverters.toInt,
    )
    implicitPrefs: Param[bool] = make_param(
        "implicitPrefs", "ratings are confidences of a preference, 1 if r > 0 else 0", TypeConverters.toBoolean
    )
    alpha: Param[float] = make_param(
        "alpha", "α of implicitPrefs: the confidence of a rating is 1 + α|r|", TypeConverters.toFloat
    )
    nonnegative: Param[bool] = make_param(
        "nonnegative", "factors are not negative; biases may be", TypeConverters.toBoolean
    )
    intermediateStorageLevel: Param[str] = make_param(
        "intermediateStorageLevel",
        "taken for Spark's sake, without effect: blocks of ratings lie in files that executors map into memory",
        _level(none=False),
    )
    finalStorageLevel: Param[str] = make_param(
        "finalStorageLevel", "taken for Spark's sake, without effect: a model's factors are arrays", _level(none=True)
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            rank=10, maxIter=10, regParam=0.1, numUserBlocks=10, numItemBlocks=10, implicitPrefs=False, alpha=1.0,
            nonnegative=False, checkpointInterval=10, intermediateStorageLevel="MEMORY_AND_DISK",
            finalStorageLevel="MEMORY_AND_DISK", seed=SEED,
        )  # fmt: skip

    def getRank(self) -> int:
        """Width of the factors."""
        return self.getOrDefault(self.rank)

    def setRank(self, value: int) -> Self:
        """Width of the factors; 0 is a model of biases alone."""
        return self._set(rank=value)

    def setMaxIter(self, value: int) -> Self:
        """Iterations, each of items and then users."""
        return self._set(maxIter=value)

    def setRegParam(self, value: float) -> Self:
        """λ of both sides' factors (`BlockALS`, on regParam)."""
        return self._set(regParam=value)

    def getNumUserBlocks(self) -> int:
        """User blocks."""
        return self.getOrDefault(self.numUserBlocks)

    def setNumUserBlocks(self, value: int) -> Self:
        """User blocks; 0 leaves it to the engine."""
        return self._set(numUserBlocks=value)

    def getNumItemBlocks(self) -> int:
        """Item blocks."""
        return self.getOrDefault(self.numItemBlocks)

    def setNumItemBlocks(self, value: int) -> Self:
        """Item blocks; 0 leaves it to the engine."""
        return self._set(numItemBlocks=value)

    def setNumBlocks(self, value: int) -> Self:
        """User blocks and item blocks alike."""
        return self._set(numUserBlocks=value, numItemBlocks=value)

    def getImplicitPrefs(self) -> bool:
        """Whether ratings are confidences of a preference."""
        return self.getOrDefault(self.implicitPrefs)

    def setImplicitPrefs(self, value: bool) -> Self:
        """Whether ratings are confidences of a preference."""
        return self._set(implicitPrefs=value)

    def getAlpha(self) -> float:
        """α of implicitPrefs."""
        return self.getOrDefault(self.alpha)

    def setAlpha(self, value: float) -> Self:
        """α of implicitPrefs: the confidence of a rating is 1 + α|r|."""
        return self._set(alpha=value)

    def getNonnegative(self) -> bool:
        """Whether factors may not be negative."""
        return self.getOrDefault(self.nonnegative)

    def setNonnegative(self, value: bool) -> Self:
        """Whether factors may not be negative."""
        return self._set(nonnegative=value)

    def setCheckpointInterval(self, value: int) -> Self:
        """Iterations between checkpoints (`checkpointDir`); -1: none."""
        return self._set(checkpointInterval=value)

    def getIntermediateStorageLevel(self) -> str:
        """A name of a StorageLevel."""
        return self.getOrDefault(self.intermediateStorageLevel)

    def setIntermediateStorageLevel(self, value: str) -> Self:
        """Taken for Spark's sake, without effect."""
        return self._set(intermediateStorageLevel=value)

    def getFinalStorageLevel(self) -> str:
        """A name of a StorageLevel."""
        return self.getOrDefault(self.finalStorageLevel)

    def setFinalStorageLevel(self, value: str) -> Self:
        """Taken for Spark's sake, without effect."""
        return self._set(finalStorageLevel=value)

    def setSeed(self, value: int) -> Self:
        """Seed of the initial factors."""
        return self._set(seed=value)
