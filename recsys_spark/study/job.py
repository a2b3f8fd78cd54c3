"""The study as one command: folds, features, tuning, ablation, report; what is current is not made again. Driver."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.ablation import job as ablate_job
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, dataset_slug, step_root
from recsys_spark.evaluate.figures import save_figures
from recsys_spark.study.page import page
from recsys_spark.study.report import RETUNED, markdown, statements, write_table
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import track
from recsys_spark.tuning import job as tune_job
from recsys_spark.tuning.prepare import study_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

PAGE, TABLE = "report.html", "results.md"
_SHOWN = (
    "dataset",
    "git.commit",
    "git.dirty",
    "machine.cpu",
    "machine.cores",
    "version.recsys_spark",
    "version.pyspark",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of tuning, and where the table is to be put."""
    tune_job.add_arguments(parser)
    parser.add_argument(
        "--write-table",
        metavar="FILE",
        help="put the table between the marks <!-- study:begin/end --> of a Markdown file",
    )


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish ``report.html``, ``results.md`` and ``figures/*.png`` of the tuning and the ablation.

    Raises
    ------
    ConfigError
        As the steps; or the file of ``--write-table`` has no marks.
    EnvironmentProblem
        As the steps.
    """
    chosen = tune_job.with_arguments(study_settings(settings), args)
    tuned, ablated = (step(spark, chosen, args) for step in (tune_job.run, ablate_job.run))
    results = json.loads(lake.read_text(spark, ablated.outputs["results"]))
    published = lake.publish(
        spark,
        step_root(chosen, "study"),
        step="study",
        settings={"study": chosen.study.model_dump(mode="json")},
        inputs={"tune": _version(tuned.outputs["tune"]), "ablate": _version(ablated.outputs["ablate"])},
        write=lambda draft: _write(spark, draft, chosen, results, tuned.outputs["trials"]),
    )
    if getattr(args, "write_table", None):
        write_table(Path(args.write_table), results)
        log.info("study: the table is in %s", args.write_table)
    outputs = {
        "report": f"{published.path}/{PAGE}",
        "table": f"{published.path}/{TABLE}",
        **tuned.outputs,
        **ablated.outputs,
    }
    summary = "\n".join([*statements(results), "", f"Report    {outputs['report']}"])
    return JobResult(metrics=ablated.metrics, outputs=outputs, summary=summary)


def _write(
    spark: SparkSession, draft: lake.Draft, settings: Settings, results: dict[str, Any], trials: str
) -> dict[str, Any]:
    from recsys_spark.study import figures

    own, searches = results["settings"][RETUNED], json.loads(lake.read_text(spark, trials))
    drawn = {
        "rmse_by_variant": figures.rmse_by_variant(own),
        "popularity_bins": figures.bins(own, results["bins"]),
        "seconds": figures.seconds(own),
        "learning_curves": figures.learning_curves(own, searches),
    }
    about = provenance(spark) | {"dataset": dataset_slug(settings.dataset)}
    with tempfile.TemporaryDirectory(prefix="recsys-spark-study-") as scratch, track(settings, "study") as tracker:
        folder = Path(scratch) / "figures"
        save_figures(drawn, folder)
        tuning = Path(scratch) / "tuning"
        lake.copy_to_local(spark, f"{trials.rpartition('/')[0]}/figures", tuning)
        pngs = {
            path.stem: path.read_bytes()
            for path in [*(folder / f"{n}.png" for n in drawn), *sorted(tuning.glob("*.png"))]
        }
        text = page(results, pngs, {key: about[key] for key in _SHOWN if key in about})
        draft.write_text(PAGE, text)
        draft.write_text(TABLE, markdown(results))
        lake.copy_from_local(spark, folder, f"{draft.path}/figures")
        tracker.log_settings(settings)
        tracker.log_tags(about)
        tracker.log_metrics({f"rmse_{name}": values["rmse"] for name, values in own.items()})
        tracker.log_directory(folder, "figures")
        tracker.log_text(text, PAGE)
        tracker.log_text(markdown(results), TABLE)
        return {"run_id": tracker.run_id}


def _version(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
