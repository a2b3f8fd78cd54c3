"""The step `tune`: the full model's settings, searched inside each outer fold and, for use, over all; driver."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recsys_spark import lake
from recsys_spark.cli import JobResult
from recsys_spark.config import Dimension, Settings, Variant, step_root
from recsys_spark.errors import ConfigError, EnvironmentProblem
from recsys_spark.evaluate.figures import save_figures
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Child, track
from recsys_spark.tuning.candidate import candidate, dimensions, overrides, settled
from recsys_spark.tuning.figures import history, importances, slices
from recsys_spark.tuning.folds import inner_names, outer_name
from recsys_spark.tuning.prepare import Inputs, Material, load, prepare, storage_url

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from recsys_spark.tuning.search import Search
    from recsys_spark.tuning.sequence import Outcome

log = logging.getLogger(__name__)

FULL, ALL = "full", "all-folds"
"""The variant that is tuned here, and the search over the outer folds themselves."""
BEST_YAML, TRIALS = "best.yaml", "trials.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own arguments; each stands for a setting of its section."""
    parser.add_argument("--n-trials", type=int, help="finished trials of each search (tune.n_trials)")
    parser.add_argument("--timeout", type=float, help="seconds after which no further trial begins (tune.timeout)")


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish ``trials.json``, every trial of every search, and ``best.yaml``, settings for use with ``--config``.

    The search inside outer fold f sees nothing of its test ratings. The search ``all-folds`` scores candidates on the
    outer folds' test ratings: its best parameters are those to use, and its best score is an optimistic one.

    Raises
    ------
    ConfigError
        An argument out of range, or a dimension of what is no setting.
    EnvironmentProblem
        optuna is not installed.
    """
    inputs = prepare(spark, with_arguments(settings, args), args)
    chosen = inputs.settings
    published = lake.publish(
        spark,
        step_root(chosen, "tune"),
        step="tune",
        settings={"tune": chosen.tune.model_dump(mode="json", exclude={"storage"}), **deciding(chosen)},
        inputs=inputs.versions,
        write=lambda draft: _write(spark, draft, inputs),
    )
    extra = published.manifest.extra
    log.info("tune: %s%s", _line(extra), "; as at the last run: nothing has changed" if published.reused else "")
    outputs = {"tune": published.path, "best": f"{published.path}/{BEST_YAML}", "trials": f"{published.path}/{TRIALS}"}
    return JobResult(metrics=extra["metrics"], outputs=outputs, summary=_line(extra))


def with_arguments(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with the job's own arguments in them.

    Raises
    ------
    ConfigError
        An argument is out of range.
    """
    asked = {name: getattr(args, name, None) for name in ("n_trials", "timeout")}
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        if value <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0, found {value:g}")
    return settings.model_copy(update={"tune": settings.tune.model_copy(update=given)})


def deciding(settings: Settings) -> dict[str, Any]:
    """The settings that decide the result of a fit of a study."""
    train = settings.train.model_dump(mode="json")
    return {"study": settings.study.model_dump(mode="json"), "train": train, "version": FORMAT}


FORMAT = 1
"""Raised where trials of before are no longer those that would be run."""


def make_search(
    spark: SparkSession,
    inputs: Inputs,
    material: Material,
    name: str,
    variant: Variant,
    folds: Sequence[str],
    first: Mapping[str, Any] | None = None,
) -> Search:
    """The search of a variant over some folds, begun or gone on with.

    Its name in the storage ends in a fingerprint of all that decides its trials, so that others are never mixed in.

    Raises
    ------
    EnvironmentProblem
        optuna is not installed.
    """
    chosen = material.settings
    common = {key: value for key, value in chosen.tune.space.items() if value is not None}
    space = dimensions(common, variant)
    made = lake.fingerprint(
        inputs.versions,
        deciding(chosen),
        [[key, value.model_dump(mode="json")] for key, value in space.items()],
        variant.model_dump(mode="json"),
        [chosen.tune.chunk, chosen.tune.startup],
        list(folds),
        dict(first or {}),
    )
    try:
        import optuna

        from recsys_spark.tuning.search import Search
        from recsys_spark.tuning.sequence import TrialSequence
    except ModuleNotFoundError as missing:
        raise EnvironmentProblem(f"tuning needs {missing.name}: run `pip install recsys-spark[tuning]`") from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(storage_url(spark, chosen))
    trials = TrialSequence(
        storage,
        f"{name}@{made}",
        space,
        settled(common, variant),
        seed=chosen.study.seed,
        startup=chosen.tune.startup,
        first=first,
    )
    return Search(trials, tuple(folds), partial(candidate, chosen, common, variant))


def report_of(search: Search) -> dict[str, Any]:
    """A search's trials, the best of them, and what its parameters matter, as JSON-able values."""
    best = search.trials.best()
    return {
        "best": _record(best),
        "trials": [_record(found) for found in search.trials.outcomes()],
        "importances": search.trials.importances(),
    }


def _storage(url: str) -> Any:
    import optuna

    return optuna.storages.RDBStorage(url)


def _write(spark: SparkSession, draft: lake.Draft, inputs: Inputs) -> dict[str, Any]:
    from recsys_spark.tuning.search import run_searches

    material = load(spark, inputs)
    chosen = material.settings
    study, tune, full = chosen.study, chosen.tune, chosen.ablate.variants[FULL]
    assert full is not None
    outer = [outer_name(f) for f in range(study.folds)]
    arenas = {name: inner_names(f, study.inner_folds) for f, name in enumerate(outer)} | {ALL: tuple(outer)}
    searches = {
        name: make_search(spark, inputs, material, f"{FULL}/{name}", full, folds) for name, folds in arenas.items()
    }
    with material.lab(spark) as lab:
        run_searches(lab, list(searches.values()), tune.n_trials, tune.timeout)
    found = {name: report_of(search) for name, search in searches.items()}
    best = found[ALL]["best"]
    tree = overrides(_known(tune.space), best["params"])
    tree.setdefault("train", {})["max_iter"] = best["iterations"]
    draft.write_text(BEST_YAML, _HEADER + yaml.safe_dump(tree, sort_keys=False))
    draft.write_text(TRIALS, json.dumps(found, indent=1) + "\n")
    inner = [found[name]["best"]["value"] for name in outer]
    metrics = {
        "trials": sum(len(report["trials"]) for report in found.values()),
        "inner_rmse": sum(inner) / len(inner),
        "all_folds_rmse": best["value"],
    }
    run_id = _tell(spark, draft, chosen, found, metrics)
    return {"best": {name: report["best"] for name, report in found.items()}, "metrics": metrics, "run_id": run_id}


def _tell(
    spark: SparkSession,
    draft: lake.Draft,
    settings: Settings,
    found: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, float],
) -> str | None:
    """Draw the searches, and log them: a run with best parameters and figures, and one nested in it for each trial."""
    drawn = {
        name: draw(found) for name, draw in (("history", history), ("importances", importances), ("slices", slices))
    }
    with tempfile.TemporaryDirectory(prefix="recsys-spark-tune-") as scratch, track(settings, "tune") as tracker:
        save_figures(drawn, Path(scratch) / "figures")
        lake.copy_from_local(spark, Path(scratch) / "figures", f"{draft.path}/figures")
        tracker.log_settings(settings)
        tracker.log_tags(provenance(spark))
        tracker.log_metrics(metrics)
        tracker.log_directory(Path(scratch) / "figures", "figures")
        tracker.log_text(lake.read_text(spark, f"{draft.path}/{BEST_YAML}"), BEST_YAML)
        tracker.log_text(lake.read_text(spark, f"{draft.path}/{TRIALS}"), TRIALS)
        for name, report in found.items():
            for trial in report["trials"]:
                facts = {"search": name, "pruned": trial["pruned"], "iterations": trial["iterations"]} | trial["params"]
                child = f"{name} {trial['number']}"
                tracker.log_child(Child(child, facts, {"value": trial["value"]}, {"rmse": trial["curve"]}))
        return tracker.run_id


_HEADER = (
    "# The best trial over all folds of the study: for use, not for judging (its score is that of the folds it saw).\n"
)


def _known(space: Mapping[str, Dimension | None]) -> dict[str, Dimension]:
    return {name: dimension for name, dimension in space.items() if dimension is not None}


def _record(found: Outcome) -> dict[str, Any]:
    return {
        "number": found.number,
        "params": found.params,
        "value": found.value,
        "iterations": found.iterations,
        "pruned": found.pruned,
        "curve": list(found.curve),
    }


def _line(extra: Mapping[str, Any]) -> str:
    metrics = extra["metrics"]
    return (
        f"{metrics['trials']} trials in {len(extra['best'])} searches; best mean RMSE inside the outer folds "
        f"{metrics['inner_rmse']:.4f}, over the outer folds themselves {metrics['all_folds_rmse']:.4f}"
    )
