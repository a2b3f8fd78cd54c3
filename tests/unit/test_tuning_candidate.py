"""Variants and parameters: which dimensions are left, what a candidate is, what cannot be."""

from __future__ import annotations

import argparse

import pytest
from pydantic import ValidationError

from recsys_spark.config import AblateSettings, Dimension, Settings, Variant, load_settings
from recsys_spark.errors import ConfigError
from recsys_spark.tuning.candidate import candidate, dimensions, first_params, overrides, settled
from recsys_spark.tuning.job import with_arguments
from recsys_spark.tuning.space import labels, values

SPACE = {name: d for name, d in Settings().tune.space.items() if d is not None}
VARIANTS = {name: v for name, v in Settings().ablate.variants.items() if v is not None}
PARAMS = {
    "rank": 20,
    "user_reg": 9.0,
    "item_mode": "inverse_sqrt",
    "item_reg_sqrt": 50.0,
    "reg_year": 2.0,
    "features_every": 2,
    "graph_source": ["genre"],
    "graph_alpha": 0.1,
    "graph_top_k": 15,
    "graph_epsilon": 0.5,
}


def made(name: str):
    return candidate(Settings(), SPACE, VARIANTS[name], PARAMS)


def test_the_full_model_takes_every_parameter():
    full = made("full")
    assert (full.train.rank, full.train.user.reg, full.train.update_features_every) == (20, 9.0, 2)
    assert (full.train.item.reg_mode, full.train.item.reg) == ("inverse_sqrt", 50.0)
    assert full.train.item.reg_groups == {"year": 2.0}
    assert full.graph is not None
    assert (full.graph.groups, full.graph.top_k, full.graph.min_similarity) == (("genre",), 15, 0.5)
    assert full.for_iterations(3).train.max_iter == 3


def test_a_search_begins_at_what_is_known():
    chosen = Settings(evaluate={"pyspark": {"rank": 12, "reg": 0.15}})
    assert first_params(chosen, VARIANTS["no_graph"], PARAMS) == PARAMS
    begun = first_params(chosen, VARIANTS["pyspark_als"], PARAMS)
    assert (begun["rank"], begun["reg"]) == (12, 0.15)
    assert candidate(chosen, SPACE, VARIANTS["pyspark_als"], begun).pyspark == (12, 0.15)


def test_variants_take_their_part_away():
    assert made("no_features").groups == ()
    assert made("no_features").graph is None
    assert made("no_features").train.item.reg_groups == {}
    assert made("only_genres").groups == ("genre",)
    assert made("only_genres").train.item.reg_groups == {}
    assert made("only_years").train.item.reg_groups == {"year": 2.0}
    assert made("only_years").graph.groups == ("year",)
    assert made("graph_from_years").graph.groups == ("year",)
    assert (made("no_graph").graph, made("no_graph").train.item.graph) == (None, 0.0)
    assert made("no_pop_reg").train.item.reg_mode == "constant"
    assert made("biases_only").train.rank == 0
    assert {made("no_biases").train.user.bias, made("no_biases").train.item.bias} == {"none"}
    assert (made("user_bias_only").train.user.bias, made("user_bias_only").train.item.bias) == (None, "none")
    assert made("pyspark_als").pyspark == (20, 0.1)  # its own space has no such parameters: the settings' own


@pytest.mark.parametrize("name", VARIANTS)
def test_no_dimension_is_left_that_a_variant_sets(name):
    left = dimensions(SPACE, VARIANTS[name])
    assert left
    for dimension in left.values():
        assert not set(dimension.keys) & set(VARIANTS[name].set)
    assert not VARIANTS[name].fixed or set(left) < set(SPACE)


def test_what_a_variant_settles_decides_on_other_dimensions():
    assert settled(SPACE, VARIANTS["no_pop_reg"]) == {"item_mode": "constant"}
    assert "item_mode" not in dimensions(SPACE, VARIANTS["no_pop_reg"])


def test_the_best_parameters_as_settings():
    tree = overrides(SPACE, PARAMS)
    assert tree["blocks"]["item_graph"] == {"groups": ["genre"], "top_k": 15, "min_similarity": 0.5}
    assert Settings.model_validate(tree).train.item.reg == 50.0


def test_parameters_as_optuna_keeps_them():
    space = {**SPACE, "narrow": Dimension(keys=("train.rank",), low=1, high=2)}
    kept = labels({**PARAMS, "narrow": 9.0, "unknown": 1}, space)
    assert kept["graph_source"] == '["genre"]'
    assert kept["narrow"] == 2.0
    assert "unknown" not in kept
    assert values({"graph_source": '["genre"]', "rank": 20}, SPACE) == {"graph_source": ["genre"], "rank": 20}
    assert labels({"item_mode": "no such"}, SPACE) == {}


def test_what_is_no_setting_is_refused():
    with pytest.raises(ConfigError, match=r"cannot be used together: train.item.lambda: Extra inputs"):
        candidate(Settings(), {"x": Dimension(keys=("train.item.lambda",), low=1, high=2)}, Variant(), {"x": 1.5})


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        ({}, "low and high, or choices"),
        ({"low": 1, "choices": [1]}, "low and high, or choices"),
        ({"low": 1, "high": 2, "choices": [1]}, "low and high, or choices"),
        ({"low": 2, "high": 2}, "low must be below high, found 2 and 2"),
        ({"low": 0, "high": 2, "log": True}, "logarithmic scale needs a low above 0"),
    ],
)
def test_dimensions_that_make_no_sense(dimension, words):
    with pytest.raises(ValidationError, match=words):
        Dimension(keys=("train.rank",), **dimension)


def test_an_ablation_needs_the_full_model():
    with pytest.raises(ValidationError, match="variants must hold full"):
        AblateSettings(variants={"no_graph": Variant()})


def test_entries_with_names_are_changed_one_by_one():
    settings = load_settings(
        [], ["tune.space.rank.high=10", "tune.space.reg_year=null", "ablate.variants.no_graph=null"]
    )
    assert settings.tune.space["rank"] == SPACE["rank"].model_copy(update={"high": 10})
    assert settings.tune.space["reg_year"] is None
    assert "reg_year" not in dimensions(settings.tune.space, Variant())
    assert settings.ablate.variants["no_graph"] is None
    assert settings.ablate.variants["full"] == Variant()


def test_arguments_of_the_job():
    given = with_arguments(Settings(), argparse.Namespace(n_trials=3, timeout=None))
    assert (given.tune.n_trials, given.tune.timeout) == (3, None)
    with pytest.raises(ConfigError, match="--n-trials must be above 0, found 0"):
        with_arguments(Settings(), argparse.Namespace(n_trials=0, timeout=None))
