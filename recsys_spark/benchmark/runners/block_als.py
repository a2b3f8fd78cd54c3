"""BlockALS as a contender: validation and history on; biases, features and graph as its plan says. Driver."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from recsys_spark import lake
from recsys_spark.benchmark.runners.on_spark import OnSpark
from recsys_spark.benchmark.spec import HELD_OUT, PHASES, Course, FitOrder
from recsys_spark.blocks.job import graph_of
from recsys_spark.features.encode import keep_groups
from recsys_spark.features.job import read_columns
from recsys_spark.ml.estimator import BlockALS
from recsys_spark.ml.model import BlockALSModel
from recsys_spark.schema import ITEM, PREDICTION, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.features.columns import FeatureColumn


class BlockAls(OnSpark):
    """Fits of BlockALS, as `contender.Runner` wants them."""

    def fit(self, order: FitOrder) -> BlockALSModel:
        """All iterations: no early stopping; the best one on the held-out ratings is what the model holds."""
        train, reg = self.spec.plan.train, self.spec.plan.reg if order.reg is None else order.reg
        stop = train.stop.model_copy(update={"min_iter": order.max_iter + 1})
        changed: dict[str, object] = {"max_iter": order.max_iter, "stop": stop}
        if reg is not None:
            changed |= {name: getattr(train, name).model_copy(update={"reg": reg}) for name in ("user", "item")}
        how = {"validationIndicatorCol": HELD_OUT, "exchange": self.spec.plan.exchange}
        estimator = BlockALS.fromSettings(train.model_copy(update=changed), **how)
        for side, give in ((USER, estimator.setUserFeatures), (ITEM, estimator.setItemFeatures)):
            if side in self._features:
                give(*self._features[side])
        graph = self._graph()
        if graph is not None:
            estimator.setItemGraph(graph)
        return estimator.fit(self.input(order))

    def course(self, model: BlockALSModel) -> Course:
        """Seconds, validation RMSE and J of each iteration."""
        history = model.trained.history
        known = history["validation_rmse"].to_pylist()
        return Course(
            seconds=tuple(history["seconds"].to_pylist()),
            validation=tuple(None if math.isnan(value) else value for value in known),
            objective=tuple(history["objective"].to_pylist()),
            phases={phase: tuple(history[f"seconds_{phase}"].to_pylist()) for phase in PHASES},
            moved=float(pc.sum(history["bytes_moved"]).as_py() or 0),
        )

    def predict(self, model: BlockALSModel, rows: DataFrame) -> DataFrame:
        """`rows` with ``prediction``: of unknown users and items too, unless there is no mean to fall back on."""
        unknown = "nan" if self.spec.plan.train.mean == "none" else "fallback"
        return model.copy().setColdStartStrategy(unknown).setPredictionCol(PREDICTION).transform(rows)

    def reopen(self, path: str) -> BlockALSModel:
        """The saved model."""
        return BlockALSModel.load(path)

    @cached_property
    def _features(self) -> dict[str, tuple[DataFrame, list[FeatureColumn]]]:
        """Rows and columns by side, of the plan's groups."""
        found = {}
        for side in (USER, ITEM):
            every = read_columns(self.spark, self.spec.features, side)
            rows = lake.read_table(self.spark, self.spec.features, side)
            rows, columns = keep_groups(rows, every, self.spec.plan.groups)
            if columns:
                found[side] = (rows, columns)
        return found

    def _graph(self) -> DataFrame | None:
        """Edges between items, of all their features; computed within the fit, as it is for everybody."""
        spec = self.spec.plan.graph
        if spec is None:
            return None
        rows = lake.read_table(self.spark, self.spec.features, ITEM)
        return graph_of(self.spark, spec, rows, ITEM, read_columns(self.spark, self.spec.features, ITEM))
