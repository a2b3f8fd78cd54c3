"""The step `sweep`: errors in training and test along one parameter, all others held; driver.

The outer folds of a study are tested on, so what a sweep shows is for looking at: a value that is chosen by it has been
chosen on test ratings. `tune` chooses inside them.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import ValidationError

from recsys_spark import lake, schema
from recsys_spark.cli import JobResult
from recsys_spark.config import Dimension, Settings, SweepSettings, Variant, step_root
from recsys_spark.errors import ConfigError
from recsys_spark.evaluate.figures import save_figures
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Child, track
from recsys_spark.tuning.candidate import candidate
from recsys_spark.tuning.figures import sweep as draw
from recsys_spark.tuning.folds import share_folds, share_name
from recsys_spark.tuning.job import deciding
from recsys_spark.tuning.lab import Fit
from recsys_spark.tuning.prepare import Inputs, Material, load, prepare

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

FITS = "fits"
"""The table: a row for each value and fold."""
_DDL = "value double, fold int, train_rmse double, test_rmse double, gap double, seconds double"
_MEASURES = ("train_rmse", "test_rmse", "gap", "seconds")
_PARTS = 1000  # a share of the ratings is a multiple of 1/1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments; each stands for a setting of its section."""
    parser.add_argument("--parameter", help="what is varied: rank, reg, share (sweep.parameter)")
    parser.add_argument("--values", metavar="V1,V2,…", help="its values (sweep.parameters.<name>.values)")


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish the table `fits`, ``sweep.csv`` with the means over folds, and ``figures/sweep.png``, under its name.

    Raises
    ------
    ConfigError
        A parameter that is not known, values that its settings cannot have.
    DataError
        A share of the ratings leaves nothing to train on.
    """
    chosen = with_arguments(settings, args)
    inputs = prepare(spark, chosen, args)
    name, parameter = chosen.sweep.parameter, chosen.sweep.chosen
    published = lake.publish(
        spark,
        step_root(chosen, f"sweep/{name}"),
        step="sweep",
        settings={"sweep": {name: parameter.model_dump(mode="json")}, **deciding(inputs.settings)},
        inputs=inputs.versions,
        write=lambda draft: _write(spark, draft, inputs),
    )
    extra = published.manifest.extra
    again = "; as at the last run: nothing has changed" if published.reused else ""
    log.info("sweep: %s has %d values%s", name, len(parameter.values), again)
    outputs = {
        "sweep": published.path,
        "fits": published.table(FITS),
        "csv": f"{published.path}/sweep.csv",
        "figure": f"{published.path}/figures/sweep.png",
    }
    return JobResult(metrics=extra["metrics"], outputs=outputs, summary=extra["summary"])


def with_arguments(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with the job's own arguments in them.

    Raises
    ------
    ConfigError
        A parameter that is not known, or values that it cannot have.
    """
    tree = settings.sweep.model_dump(mode="json")
    tree["parameter"] = getattr(args, "parameter", None) or tree["parameter"]
    values = getattr(args, "values", None)
    if values is not None:
        known = tree["parameters"].get(tree["parameter"])
        if known is not None:
            known["values"] = yaml.safe_load(f"[{values}]")
    try:
        return settings.model_copy(update={"sweep": SweepSettings.model_validate(tree)})
    except ValidationError as error:
        found = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise ConfigError(f"the sweep cannot be made: {found}") from None


def _write(spark: SparkSession, draft: lake.Draft, inputs: Inputs) -> dict[str, Any]:
    chosen = inputs.settings.sweep.chosen
    shares = (1.0,) if chosen.keys else chosen.values
    material = load(spark, inputs, _PARTS, partial(share_folds, shares=shares))
    fits = measured(spark, material)
    draft.write_table(spark.createDataFrame(fits, _DDL).coalesce(1), FITS)
    means = fits.groupby("value", as_index=False)[list(_MEASURES)].mean()
    draft.write_text("sweep.csv", means.to_csv(index=False))
    return _tell(spark, draft, material.settings, means, fits)


def measured(spark: SparkSession, material: Material) -> pd.DataFrame:
    """A row for each value and fold: (value, fold, train_rmse, test_rmse, gap, seconds), in their order.

    Every fit is a Spark task; `seconds` are those of its one core.
    """
    import pandas as pd

    settings = material.settings
    asked = [
        (value, fold, Fit(share_name(fold, 1.0 if settings.sweep.chosen.keys else value), made))
        for value in sorted(settings.sweep.chosen.values)
        for made in [_candidate(settings, value)]
        for fold in range(settings.study.folds)
    ]
    with material.lab(spark) as lab:
        judged = lab.judge([fit for *_, fit in asked])
    rows = []
    for (value, fold, fit), found in zip(asked, judged, strict=True):
        ratings = material.folds[fit.fold].judged[schema.RATING].to_numpy()
        test = float(np.sqrt(np.mean((found.predictions.astype(np.float64) - ratings) ** 2)))
        train = float(found.history["train_rmse"][-1].as_py())
        rows.append((value, fold, train, test, test - train, found.seconds))
    return pd.DataFrame(rows, columns=["value", "fold", *_MEASURES])


def _candidate(settings: Settings, value: float) -> Any:
    keys = settings.sweep.chosen.keys
    space = {"swept": Dimension(keys=keys, choices=(value,))} if keys else {}
    return candidate(settings, space, Variant(), {"swept": value})


def _tell(
    spark: SparkSession, draft: lake.Draft, settings: Settings, means: pd.DataFrame, fits: pd.DataFrame
) -> dict[str, Any]:
    """Draw it, log it as a run with one nested in it for each value, and say what came out."""
    name, chosen = settings.sweep.parameter, settings.sweep.chosen
    best = means.loc[means["test_rmse"].idxmin()]
    metrics = {f"best_{key}": float(best[key]) for key in ("value", "test_rmse", "train_rmse", "gap")}
    metrics |= {f"values.{row.value:g}.{key}": getattr(row, key) for row in means.itertuples() for key in _MEASURES[:3]}
    with tempfile.TemporaryDirectory(prefix="recsys-spark-sweep-") as scratch, track(settings, "sweep") as tracker:
        save_figures({"sweep": draw(means, fits, name, log=chosen.log)}, Path(scratch) / "figures")
        lake.copy_from_local(spark, Path(scratch) / "figures", f"{draft.path}/figures")
        tracker.log_settings(settings)
        tracker.log_tags(provenance(spark))
        tracker.log_metrics({key: value for key, value in metrics.items() if not key.startswith("values.")})
        tracker.log_directory(Path(scratch) / "figures", "figures")
        tracker.log_table(means, "sweep")
        for row in means.itertuples():
            numbers = {key: float(getattr(row, key)) for key in _MEASURES}
            tracker.log_child(Child(f"{name} {row.value:g}", {name: f"{row.value:g}"}, numbers))
        return {"metrics": metrics, "run_id": tracker.run_id, "summary": _summary(name, means)}


def _summary(name: str, means: pd.DataFrame) -> str:
    best = means["test_rmse"].idxmin()
    lines = [f"{name:>10}  {'training':>9} {'test':>9} {'gap':>9}"]
    for at, row in means.iterrows():
        mark = "  best in test" if at == best else ""
        lines.append(
            f"{row['value']:>10g}  {row['train_rmse']:>9.4f} {row['test_rmse']:>9.4f} {row['gap']:>+9.4f}{mark}"
        )
    return "\n".join(["", "RMSE, mean over the outer folds", *lines])
