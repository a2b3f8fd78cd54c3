"""BlockALS: the estimator over the engine's own function. Driver."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JJavaError
from pyspark import keyword_only
from pyspark.errors import PySparkException
from pyspark.ml import Estimator
from pyspark.ml.base import _FitMultipleIterator
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import types as T

from recsys_spark.als.settings import AlsSettings
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, SIDE_NAMES, USERS
from recsys_spark.blocks.published import PublishedBlocks
from recsys_spark.blocks.source import ROUTED, BlockSource, TableBlocks
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.features.columns import FeatureColumn, check_columns
from recsys_spark.features.graph import table_graph
from recsys_spark.frames import check_classic, feature_rows
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.ml.params import BlockAlsParams, check_names
from recsys_spark.ml.ratings import feature_offence, offence, rating_columns
from recsys_spark.ml.running import How, run_fit
from recsys_spark.ml.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.ml.param import Param
    from pyspark.sql import DataFrame, SparkSession

    from recsys_spark.als.train import Columns
    from recsys_spark.ml.estimator_io import BlockALSReader


log = logging.getLogger(__name__)


_OF_DATA = frozenset(
    {"userCol", "itemCol", "ratingCol", "weightCol", "validationIndicatorCol", "numUserBlocks", "numItemBlocks"}
)
"""Params that decide what is read of a DataFrame, and how it is cut."""


class BlockALS(Estimator[BlockALSModel], BlockAlsParams, MLReadable["BlockALS"], MLWritable):
    """`pyspark.ml.recommendation.ALS` with biases, side features, cold start, any ids, and more.

    r̂(u, i) = μ + b_u + c_i + p_u · q_i, factors and biases solved jointly row by row, pulled towards what the features
    predict. Ids are integers or strings as they come.

    Spark's Params have Spark's names, defaults and meaning. Ours default to the better model for explicit ratings (μ
    and biases on), and to Spark's with implicitPrefs; `sparkDefaults` switches all of ours off.

    regParam is λ of both sides' factors under ``regModeUser`` and ``regModeItem``: ``weighted``, the default, is λ·n
    for a row of n ratings, Spark's own. In the other modes, ``constant`` λ and ``inverse_sqrt`` λ/√(n + 1), λ has the
    unit of J, which sums over ratings, and good values are of the order of 10. ``regUser`` and ``regItem`` go before
    regParam where they are set. ``regUserPerRating`` and ``regItemPerRating`` add λ'·n to any of them, which keeps
    popular rows from being fitted to what is noise in the other side's. Biases have their own λ (``regUserBias``,
    ``regItemBias``), constant in every mode.

    Results are the same, bit for bit, for any numUserBlocks and numItemBlocks, so their defaults are Spark's in name:
    where they have not been set, the engine chooses.

    >>> model = BlockALS(rank=20, userCol="userId", itemCol="movieId").fit(ratings)  # doctest: +SKIP
    >>> model.transform(test)  # doctest: +SKIP
    """

    _input_kwargs: dict[str, Any]  # set by keyword_only

    @keyword_only
    def __init__(
        self,
        *,
        rank: int = 10,
        maxIter: int = 10,
        regParam: float = 0.1,
        numUserBlocks: int = 10,
        numItemBlocks: int = 10,
        implicitPrefs: bool = False,
        alpha: float = 1.0,
        userCol: str = "user",
        itemCol: str = "item",
        seed: int | None = None,
        ratingCol: str = "rating",
        nonnegative: bool = False,
        checkpointInterval: int = 10,
        intermediateStorageLevel: str = "MEMORY_AND_DISK",
        finalStorageLevel: str = "MEMORY_AND_DISK",
        coldStartStrategy: str = "nan",
        blockSize: int = 4096,
        **ours: Any,
    ) -> None:
        super().__init__()
        self._features: dict[int, tuple[DataFrame, tuple[FeatureColumn, ...]]] = {}
        self._graphs: dict[int, DataFrame] = {}
        self._initial: BlockALSModel | None = None
        self.setParams(**self._input_kwargs)

    @keyword_only
    def setParams(
        self,
        *,
        rank: int = 10,
        maxIter: int = 10,
        regParam: float = 0.1,
        numUserBlocks: int = 10,
        numItemBlocks: int = 10,
        implicitPrefs: bool = False,
        alpha: float = 1.0,
        userCol: str = "user",
        itemCol: str = "item",
        seed: int | None = None,
        ratingCol: str = "rating",
        nonnegative: bool = False,
        checkpointInterval: int = 10,
        intermediateStorageLevel: str = "MEMORY_AND_DISK",
        finalStorageLevel: str = "MEMORY_AND_DISK",
        coldStartStrategy: str = "nan",
        blockSize: int = 4096,
        **ours: Any,
    ) -> BlockALS:
        """Set Params by name; None leaves one as it is. TypeError for a name or value that is none."""
        given = {name: value for name, value in self._input_kwargs.items() if value is not None}
        check_names(self, list(given))
        return self._set(**given)

    @classmethod
    def sparkDefaults(cls, **params: Any) -> BlockALS:
        """An estimator of the very model of pyspark.ml.recommendation.ALS: no μ, no biases, no clipping, λ·n.

        Iterations are Spark's too: without relaxation.

        Params given go on top: ``BlockALS.sparkDefaults(rank=20)``.
        """
        off: dict[str, Any] = {"globalMean": "none", "userBias": "none", "itemBias": "none", "clipPredictions": False}
        return cls(**off | {"relaxation": 1.0} | params)

    @classmethod
    def fromSettings(cls, settings: AlsSettings, **params: Any) -> BlockALS:
        """An estimator with the engine's settings, as a job's configuration gives them."""
        estimator = cls(**params)
        estimator._set_settings(settings)
        return estimator

    def setUserFeatures(self, rows: DataFrame, columns: Sequence[FeatureColumn]) -> BlockALS:
        """User features as `features.encode` gives them: rows (user id, indices, values), and what the indices mean."""
        self._features[USERS] = (rows, check_columns(columns))
        return self

    def setItemFeatures(self, rows: DataFrame, columns: Sequence[FeatureColumn]) -> BlockALS:
        """Item features; see `setUserFeatures`."""
        self._features[ITEMS] = (rows, check_columns(columns))
        return self

    def setUserGraph(self, edges: DataFrame) -> BlockALS:
        """Similarities (i, j, s) of users, s ≥ 0: as `features.graph.similarity_graph` makes them, or any such table.

        A pair given twice, in either direction, counts once, with its largest s. ``userGraphWeight`` says how much.
        """
        self._graphs[USERS] = edges
        return self

    def setItemGraph(self, edges: DataFrame) -> BlockALS:
        """Similarities of items; see `setUserGraph`."""
        self._graphs[ITEMS] = edges
        return self

    def setInitialModel(self, model: BlockALSModel | None) -> BlockALS:
        """Begin fits from a model: ids that it does not know join, ids that are gone leave. None: from the seed."""
        self._initial = model
        return self

    def write(self) -> MLWriter:
        """A writer: ``metadata/`` as pyspark.ml writes it; features, graphs and initial model as Parquet beside it."""
        from recsys_spark.ml.estimator_io import BlockALSWriter

        return BlockALSWriter(self)

    @classmethod
    def read(cls) -> BlockALSReader:
        """A reader of what `write` wrote."""
        from recsys_spark.ml.estimator_io import BlockALSReader

        return BlockALSReader()

    def copy(self, extra: Any = None) -> BlockALS:
        """A copy with its own Params; feature DataFrames are shared by reference."""
        copied = super().copy(extra)
        copied._features, copied._initial = dict(self._features), self._initial
        copied._graphs = dict(self._graphs)
        return copied

    def fitBlocks(self, blocks: PublishedBlocks) -> BlockALSModel:
        """Fit to blocks that the ``blocks`` job published; Params of columns and blocks play no part."""
        return self._run(blocks, blocks.columns)

    def fitMultiple(
        self, dataset: DataFrame, paramMaps: Sequence[dict[Param[Any], Any]]
    ) -> Iterator[tuple[int, BlockALSModel]]:
        """A thread-safe iterator of (index, model), one for each param map, as pyspark.ml has it.

        The ratings are read and indexed once for all maps that leave columns and blocks alone.
        """
        estimator = self.copy()
        apart = [any(param.name in _OF_DATA for param in extra) for extra in paramMaps]
        shared = Shared(partial(estimator._read, dataset), uses=len(apart) - sum(apart))

        def fit(index: int) -> BlockALSModel:
            if apart[index]:
                return estimator.fit(dataset, paramMaps[index])
            with shared.use() as data:
                return estimator.copy(paramMaps[index])._fit_to(data)

        return _FitMultipleIterator(fit, len(paramMaps))

    def _fit(self, dataset: DataFrame) -> BlockALSModel:
        with self._read(dataset) as data:
            return self._fit_to(data)

    @contextmanager
    def _read(self, dataset: DataFrame) -> Iterator[TableBlocks]:
        """The ratings and features, ready for fits of any rank and λ."""
        check_classic(dataset)
        ratings = rating_columns(dataset, self._wanted())
        features = {
            side: feature_rows(rows, SIDE_NAMES[side], isinstance(_id_type(ratings, side), T.StringType))
            for side, (rows, _) in self._features.items()
        }
        widths = len(self._columns(USERS)), len(self._columns(ITEMS))
        grid = self._grid()
        graphs = {side: table_graph(edges, _id_type(ratings, side)) for side, edges in self._graphs.items()}
        with self._encoded(dataset, ratings) as encoded:
            yield TableBlocks(encoded, features, widths, grid, graphs)

    def _fit_to(self, data: TableBlocks) -> BlockALSModel:
        columns = (self._columns(USERS), self._columns(ITEMS))
        try:
            return self._run(data, columns)
        except (Py4JJavaError, PySparkException):
            for side, rows in data.features.items():
                told = feature_offence(rows, SIDE_NAMES[side], len(columns[side]))
                if told is not None:
                    raise told from None
            raise

    def _run(self, source: BlockSource, columns: Columns) -> BlockALSModel:
        initial = self._initial.trained if self._initial is not None else None
        fitted = run_fit(source, self.settings(), columns, initial, self._how(source.spark))
        model = BlockALSModel(fitted)
        self._copyValues(model)
        return model._resetUid(self.uid)

    def _how(self, spark: SparkSession) -> How:
        """What the Params say of running a fit; without ``checkpointDir``, Spark's, which a new context forgets."""
        every = self.getOrDefault(self.checkpointInterval)
        root = self.getOrDefault(self.checkpointDir) if self.isSet(self.checkpointDir) else _checkpoint_dir(spark)
        if every >= 1 and not root and self.isSet(self.checkpointInterval):
            log.warning(
                "checkpointInterval is %d, but there is no place for checkpoints: set checkpointDir (or "
                "SparkContext.setCheckpointDir); a fit that is cut short will begin anew",
                every,
            )
        return How(self.getExecution(), self.getExchange(), root, every)

    def _grid(self) -> tuple[int, int]:
        """Blocks of users and items, 0 where the engine is to choose; ConfigError for a negative number."""
        users, items = (
            self.getOrDefault(param) if self.isSet(param) else 0 for param in (self.numUserBlocks, self.numItemBlocks)
        )
        if min(users, items) < 0:
            raise ConfigError(f"numUserBlocks and numItemBlocks must be at least 0, found {users} and {items}")
        return users, items

    def _columns(self, side: int) -> tuple[FeatureColumn, ...]:
        return self._features[side][1] if side in self._features else ()

    def _wanted(self) -> dict[str, str]:
        """Column by what the engine calls it, as the Params name them."""
        wanted = self.data_columns()
        if self.isSet(self.validationIndicatorCol):
            wanted["held_out"] = self.getValidationIndicatorCol()
        return wanted

    def _encoded(self, dataset: DataFrame, ratings: DataFrame) -> EncodedRatings:
        """The ratings, read once; DataError that names the column of rows that cannot be used."""
        try:
            return EncodedRatings(ratings, limit=0 if self.getExchange() in ROUTED else None)
        except DataError as problem:
            raise offence(dataset, self._wanted()) or problem from None


def _checkpoint_dir(spark: SparkSession) -> str | None:
    found = spark.sparkContext._jsc.sc().getCheckpointDir()
    return found.get() if found.isDefined() else None


def _id_type(ratings: DataFrame, side: int) -> T.DataType:
    kind = ratings.schema[SIDE_NAMES[side]].dataType
    return kind if isinstance(kind, T.StringType) else T.LongType()
