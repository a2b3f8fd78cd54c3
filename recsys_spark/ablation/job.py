"""The step `ablate`: every variant on the outer folds, at the full model's parameters and tuned anew; driver."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.ablation.outcome import Outcome, outcome_of, summary
from recsys_spark.ablation.statistics import TESTS, adjusted, compare
from recsys_spark.cli import JobResult
from recsys_spark.config import Settings, Variant, step_root
from recsys_spark.errors import DataError
from recsys_spark.evaluate.rating import bin_labels
from recsys_spark.tracking.provenance import provenance
from recsys_spark.tracking.run import Child, track
from recsys_spark.tuning.candidate import Candidate, Params, candidate, first_params
from recsys_spark.tuning.folds import inner_names, outer_name, shares
from recsys_spark.tuning.job import ALL, FULL, deciding, make_search, report_of
from recsys_spark.tuning.lab import Fit, Lab
from recsys_spark.tuning.prepare import Inputs, Material, load, prepare

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

RESULTS = "results.json"
AT_FULL, RETUNED = "at_full", "retuned"
"""The two settings of fairness: the full model's parameters of each fold, or the variant's own, tuned inside it."""
SPARK_ALS = "pyspark_als"

Choice = tuple[Params, int]
"""Parameters and iterations."""


def run(spark: SparkSession, settings: Settings, args: argparse.Namespace) -> JobResult:
    """Publish ``results.json``: metrics of every variant, and its comparison with the full model.

    Raises
    ------
    NotPublishedError
        The data set has not been tuned.
    DataError
        It has been tuned with other data or settings than these.
    """
    inputs = prepare(spark, settings, args)
    chosen = inputs.settings
    tuned = lake.current(spark, step_root(chosen, "tune"), "tune")
    if dict(tuned.manifest.inputs) != inputs.versions or any(
        tuned.manifest.settings[key] != value for key, value in deciding(chosen).items()
    ):
        raise DataError(f"{tuned.path} was tuned with other data or settings than these: run jobs/tune.py first")
    published = lake.publish(
        spark,
        step_root(chosen, "ablate"),
        step="ablate",
        settings={
            "ablate": chosen.ablate.model_dump(mode="json"),
            "evaluate": chosen.evaluate.model_dump(mode="json"),
            "tune": chosen.tune.model_dump(mode="json", exclude={"storage", "n_trials", "timeout"}),
        },
        inputs={"tune": tuned.manifest.version},
        write=lambda draft: _write(spark, draft, inputs, tuned.manifest.extra["best"]),
    )
    again = "; as at the last run: nothing has changed" if published.reused else ""
    log.info("ablate: %d figures%s", len(published.manifest.extra["metrics"]), again)
    outputs = {"ablate": published.path, "results": f"{published.path}/{RESULTS}"}
    return JobResult(metrics=published.manifest.extra["metrics"], outputs=outputs)


@dataclass(frozen=True, eq=False)
class _Variants:
    """The variants of a study with what is needed to fit them."""

    spark: SparkSession
    inputs: Inputs
    material: Material
    lab: Lab
    best: Mapping[str, Mapping[str, Any]]

    @property
    def chosen(self) -> Settings:
        return self.material.settings

    @property
    def folds(self) -> list[str]:
        return [outer_name(f) for f in range(self.chosen.study.folds)]

    def named(self, model: str) -> dict[str, Variant]:
        found = self.chosen.ablate.variants.items()
        return {name: variant for name, variant in found if variant is not None and variant.model == model}

    def make(self, variant: Variant, params: Params) -> Candidate:
        return candidate(self.chosen, self.chosen.tune.space, variant, params)

    def full_choice(self, fold: str) -> Choice:
        return self.best[fold]["params"], self.best[fold]["iterations"]

    def fitter(self, model: str) -> Any:
        if model != SPARK_ALS:
            return self.lab
        from recsys_spark.ablation.spark_als import SparkAls

        alone = {"train.rank": 0, "train.item.graph": 0.0, "blocks.item_graph": None}
        biases = self.make(Variant(set=alone, groups=()), {}).for_iterations(10)
        return SparkAls(self.spark, self.lab, biases, self.chosen.evaluate.pyspark.iterations)

    def judged(self, choices: Mapping[str, Mapping[str, Choice]], model: str) -> dict[str, list[Outcome]]:
        """Outcomes of each variant on each outer fold, with its parameters there."""
        variants, evaluate = self.named(model), self.chosen.evaluate
        fits = [
            Fit(fold, self.make(variants[name], params).for_iterations(iterations))
            for name, of_folds in choices.items()
            for fold, (params, iterations) in of_folds.items()
        ]
        found = iter(zip(fits, self.fitter(model).judge(fits), strict=True))
        return {
            name: [
                outcome_of(judged, self.lab.folds[fit.fold].judged, self.material.classes, evaluate.bins)
                for fit, judged in (next(found) for _ in of_folds)
            ]
            for name, of_folds in choices.items()
        }

    def retuned(self, model: str) -> tuple[dict[str, dict[str, Choice]], dict[str, Any]]:
        """Each variant's own parameters in each outer fold, begun from full's; and the best trial of each search."""
        from recsys_spark.tuning.search import run_searches

        study = self.chosen.study
        searches = {
            (name, outer_name(f)): make_search(
                self.spark, self.inputs, self.material, f"{name}/{outer_name(f)}", variant,
                inner_names(f, study.inner_folds),
                first_params(self.chosen, variant, self.best[outer_name(f)]["params"]),
            )
            for name, variant in self.named(model).items()
            if name != FULL
            for f in range(study.folds)
        }  # fmt: skip
        run_searches(self.fitter(model), list(searches.values()), self.chosen.ablate.n_trials)
        reports = {key: report_of(search) for key, search in searches.items()}
        choices: dict[str, dict[str, Choice]] = {}
        for (name, fold), report in reports.items():
            choices.setdefault(name, {})[fold] = (report["best"]["params"], report["best"]["iterations"])
        return choices, {f"{name}/{fold}": report["best"] for (name, fold), report in reports.items()}


def _write(
    spark: SparkSession, draft: lake.Draft, inputs: Inputs, best: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    material = load(spark, inputs)
    with material.lab(spark) as lab:
        variants = _Variants(spark, inputs, material, lab, best)
        full = {fold: variants.full_choice(fold) for fold in variants.folds}
        outcomes: dict[str, dict[str, list[Outcome]]] = {AT_FULL: {}, RETUNED: {}}
        chosen_params: dict[str, Any] = {}
        for model in ("block_als", SPARK_ALS):
            named = variants.named(model)
            if not named:
                continue
            log.info("ablate: %s at the full model's parameters", ", ".join(named))
            outcomes[AT_FULL] |= variants.judged(dict.fromkeys(named, full), model)
            choices, reports = variants.retuned(model)
            outcomes[RETUNED] |= variants.judged(choices, model)
            chosen_params |= reports
        outcomes[RETUNED][FULL] = outcomes[AT_FULL][FULL]
        ratio = shares(material.folds, variants.folds)
    record = _record(material.settings, outcomes, ratio, best)
    draft.write_text(RESULTS, json.dumps(record | {"chosen": chosen_params}, indent=1, ensure_ascii=False) + "\n")
    metrics = _metrics(record)
    return {"metrics": metrics, "run_id": _tell(spark, material.settings, record, metrics)}


def _tell(
    spark: SparkSession, settings: Settings, record: Mapping[str, Any], metrics: Mapping[str, float]
) -> str | None:
    """One run for the ablation, and one nested in it for each variant in each setting of fairness."""
    with track(settings, "ablate") as tracker:
        tracker.log_settings(settings)
        tracker.log_tags(provenance(spark))
        tracker.log_metrics(metrics)
        for setting, by_name in record["settings"].items():
            for name, values in by_name.items():
                numbers = {**values, **(values["against_full"] or {})}
                known = {key: float(v) for key, v in numbers.items() if isinstance(v, (int, float))}
                facts = {"variant": name, "setting": setting}
                tracker.log_child(
                    Child(f"{name} {setting}", facts, known, {"train_rmse_by_iteration": values["curve"]})
                )
        return tracker.run_id


def _record(
    settings: Settings,
    outcomes: Mapping[str, Mapping[str, list[Outcome]]],
    ratio: float,
    best: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    order = [name for name, variant in settings.ablate.variants.items() if variant is not None]
    test = partial(compare, ratio=ratio, resamples=settings.ablate.resamples, seed=settings.study.seed)
    found: dict[str, Any] = {}
    for setting, by_name in outcomes.items():
        full = by_name[FULL]
        comparisons = {name: test(full, by_name[name]).record() for name in order if name != FULL and name in by_name}
        for p in TESTS:
            ordered = adjusted([c[p] if c[p] is not None else float("nan") for c in comparisons.values()])
            for comparison, value in zip(comparisons.values(), ordered, strict=True):
                comparison[f"{p}_adjusted"] = None if value != value else value
        found[setting] = {
            name: {**summary(by_name[name]), "against_full": comparisons.get(name)} for name in order if name in by_name
        }
    honest = found[RETUNED][FULL]["rmse"]
    return {
        "folds": settings.study.folds,
        "bins": bin_labels(settings.evaluate.bins),
        "list_length": settings.ablate.list_length,
        "settings": found,
        "best": best,
        "optimism": {"honest": honest, "on_test_folds": best[ALL]["value"], "gain": honest - best[ALL]["value"]},
    }


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Flat numbers of the job's line; a variant's own are those tuned anew."""
    found: dict[str, float] = {}
    for setting, by_name in record["settings"].items():
        end = "" if setting == RETUNED else f"_{setting}"
        for name, values in by_name.items():
            found[f"variants.{name}.rmse{end}"] = values["rmse"]
            comparison = values["against_full"]
            if comparison:
                found[f"variants.{name}.difference{end}"] = comparison["difference"]
                found[f"variants.{name}.p_users{end}"] = comparison["p_users_adjusted"]
    return found | {"optimism": record["optimism"]["gain"]}
