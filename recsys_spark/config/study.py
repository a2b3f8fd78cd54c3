"""Settings of studies: folds within folds, the space searched, variants of the model, and single parameters swept."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from recsys_spark.config.section import Section


class Dimension(Section):
    """One dimension of a search space: a range of numbers, or choices."""

    keys: tuple[str, ...] = Field(min_length=1, description="the settings that get its value, by their dotted names")
    low: float | None = Field(None, description="lowest value")
    high: float | None = Field(None, description="highest value")
    log: bool = Field(False, description="searched on a logarithmic scale")
    whole: bool = Field(False, description="whole numbers alone")
    choices: tuple[Any, ...] = Field((), description="instead of a range, the values there are")
    when: dict[str, tuple[Any, ...]] = Field({}, description="asked for only where other dimensions have such values")

    @model_validator(mode="after")
    def _range_or_choices(self) -> Dimension:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ValueError("a dimension has low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low must be below high, found {self.low:g} and {self.high:g}")
        if self.log and not (self.low and self.low > 0):
            raise ValueError(f"a logarithmic scale needs a low above 0, found {self.low}")
        return self


class Variant(Section):
    """The model with a part taken out, or another one: what differs from the full model."""

    set: dict[str, Any] = Field({}, description="settings that it fixes, by their dotted names")
    groups: tuple[str, ...] | None = Field(None, description="feature groups that it keeps; null: all")
    fixed: tuple[str, ...] = Field((), description="dimensions that mean nothing to it, by patterns such as graph*")
    model: Literal["block_als", "pyspark_als"] = Field("block_als", description="who fits it")
    space: dict[str, Dimension] = Field({}, description="its own search space; none: that of tune")


_SIDES = ("train.user", "train.item")
_GRAPH = "blocks.item_graph"
_SPACE: dict[str, Dimension | None] = {
    "rank": Dimension(keys=("train.rank",), low=8, high=48, log=True, whole=True),
    "user_reg": Dimension(keys=("train.user.reg",), low=6, high=40, log=True),
    "item_mode": Dimension(keys=("train.item.reg_mode",), choices=("constant", "inverse_sqrt", "weighted")),
    "item_reg": Dimension(keys=("train.item.reg",), low=6, high=40, log=True, when={"item_mode": ("constant",)}),
    "item_reg_sqrt": Dimension(
        keys=("train.item.reg",), low=10, high=120, log=True, when={"item_mode": ("inverse_sqrt",)}
    ),
    "item_reg_n": Dimension(keys=("train.item.reg",), low=0.1, high=3, log=True, when={"item_mode": ("weighted",)}),
    "user_reg_bias": Dimension(keys=("train.user.reg_bias",), low=0.5, high=10, log=True),
    "item_reg_bias": Dimension(keys=("train.item.reg_bias",), low=0.5, high=10, log=True),
    "reg_features": Dimension(keys=("train.item.reg_features",), low=4, high=200, log=True),
    "reg_feature_bias": Dimension(keys=("train.item.reg_feature_bias",), low=1, high=50, log=True),
    "reg_year": Dimension(keys=("train.item.reg_groups.year",), low=0.5, high=5, log=True),
    "features_every": Dimension(keys=("train.update_features_every",), choices=(1, 2, 4)),
    "graph_source": Dimension(keys=(f"{_GRAPH}.groups",), choices=(["genre"], ["year"], ["genre", "year"])),
    "graph_alpha": Dimension(keys=("train.item.graph",), low=0.003, high=1, log=True),
    "graph_top_k": Dimension(keys=(f"{_GRAPH}.top_k",), choices=(5, 15, 40)),
    "graph_epsilon": Dimension(keys=(f"{_GRAPH}.min_similarity",), choices=(0.0, 0.5)),
}
_NO_GRAPH: dict[str, Any] = {"train.item.graph": 0.0, _GRAPH: None}
_NO_FACTORS: dict[str, Any] = {"train.rank": 0, **_NO_GRAPH}
_CONSTANT: dict[str, Any] = {
    f"{side}.{key}": value for side in _SIDES for key, value in (("reg_mode", "constant"), ("reg_per_rating", 0.0))
}
_BIASES_ONLY = ("user_reg", "item_mode", "item_reg", "item_reg_sqrt", "item_reg_n")
_FEATURES = ("reg_feature*", "reg_year", "features_every")
_VARIANTS: dict[str, Variant | None] = {
    "full": Variant(),
    "no_features": Variant(groups=(), set=_NO_GRAPH, fixed=_FEATURES),
    "only_genres": Variant(groups=("genre",), set={f"{_GRAPH}.groups": ["genre"]}, fixed=("reg_year",)),
    "only_years": Variant(groups=("year",), set={f"{_GRAPH}.groups": ["year"]}),
    "no_graph": Variant(set=_NO_GRAPH),
    "graph_from_years": Variant(set={f"{_GRAPH}.groups": ["year"]}),
    "no_pop_reg": Variant(set=_CONSTANT),
    "biases_only": Variant(groups=(), set=_NO_FACTORS, fixed=(*_BIASES_ONLY, *_FEATURES)),
    "no_biases": Variant(
        set={f"{side}.bias": "none" for side in _SIDES}, fixed=("user_reg_bias", "item_reg_bias", "reg_feature_bias")
    ),
    "static_biases": Variant(set={f"{side}.bias": "static" for side in _SIDES}, fixed=("reg_feature_bias",)),
    "user_bias_only": Variant(set={"train.item.bias": "none"}, fixed=("item_reg_bias", "reg_feature_bias")),
    "item_bias_only": Variant(set={"train.user.bias": "none"}, fixed=("user_reg_bias",)),
    "factors_plus_bias": Variant(groups=(), set=_NO_GRAPH | _CONSTANT, fixed=_FEATURES),
    "pyspark_als": Variant(
        model="pyspark_als",
        space={
            "rank": Dimension(keys=("evaluate.pyspark.rank",), low=5, high=40, log=True, whole=True),
            "reg": Dimension(keys=("evaluate.pyspark.reg",), low=0.05, high=0.3, log=True),
        },
    ),
}


class StudySettings(Section):
    """Folds of a study: outer ones are tested on, inner ones, within the others' ratings, are tuned on."""

    folds: int = Field(5, ge=2, description="outer folds; with 10 a sign test over folds can reach p = 0.002")
    inner_folds: int = Field(3, ge=2, description="inner folds of each outer fold's training ratings")
    seed: int = Field(7, description="seed of the hashes that assign folds, of the sampler and of resampling")


class TuneSettings(Section):
    """Searching the space with Optuna (TPE, median pruner), once inside each outer fold."""

    n_trials: int = Field(24, ge=1, description="trials of a search that are finished or pruned when it ends")
    timeout: float | None = Field(None, gt=0, description="seconds after which no further trial begins; null: none")
    chunk: int = Field(5, ge=1, description="iterations between two looks of the pruner at all inner folds' mean")
    startup: int = Field(8, ge=1, description="random trials before the sampler and the pruner begin to choose")
    storage: str | None = Field(None, description="URL of Optuna's database; null: SQLite in the workdir")
    space: dict[str, Dimension | None] = Field(_SPACE, description="dimensions by name; null takes one away")


class AblateSettings(Section):
    """Variants of the model beside the full one, on the same folds."""

    n_trials: int = Field(6, ge=1, description="trials of each variant that is tuned anew, in each outer fold")
    list_length: int = Field(10, ge=1, description="k of NDCG@k")
    resamples: int = Field(9999, ge=99, description="resamples of users for intervals and p-values")
    variants: dict[str, Variant | None] = Field(
        _VARIANTS, description="variants by name; full has to be one of them, null takes one away"
    )

    @model_validator(mode="after")
    def _full_is_one(self) -> AblateSettings:
        if self.variants.get("full") is None:
            raise ValueError("variants must hold full, which the others are compared with")
        return self


class Parameter(Section):
    """A parameter that is swept over, all others held."""

    keys: tuple[str, ...] = Field((), description="settings that get each value; none: the share of training ratings")
    values: tuple[float, ...] = Field(min_length=2, description="its values")
    log: bool = Field(False, description="drawn on a logarithmic scale")

    @model_validator(mode="after")
    def _values_make_sense(self) -> Parameter:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"values must differ, found {list(self.values)}")
        if not self.keys and not all(0 < value <= 1 for value in self.values):
            raise ValueError(f"shares of the training ratings must lie in (0, 1], found {list(self.values)}")
        if self.log and min(self.values) <= 0:
            raise ValueError(f"a logarithmic scale needs values above 0, found {list(self.values)}")
        return self


_PARAMETERS: dict[str, Parameter | None] = {
    "rank": Parameter(keys=("train.rank",), values=(1, 2, 4, 8, 15, 30, 60, 100, 150), log=True),
    "reg": Parameter(
        keys=tuple(f"{side}.reg" for side in _SIDES), values=(1, 2, 4, 8, 12, 16, 24, 40, 80, 160), log=True
    ),
    "share": Parameter(values=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
}


class SweepSettings(Section):
    """Errors in training and test against one parameter, on the outer folds of a study."""

    parameter: str = Field("rank", description="which of the parameters below")
    parameters: dict[str, Parameter | None] = Field(_PARAMETERS, description="parameters by name; null takes one away")

    @model_validator(mode="after")
    def _parameter_is_known(self) -> SweepSettings:
        known = [name for name, parameter in self.parameters.items() if parameter is not None]
        if self.parameter not in known:
            raise ValueError(f"parameter must be one of {', '.join(known)}, found {self.parameter!r}")
        return self

    @property
    def chosen(self) -> Parameter:
        """The parameter that is swept over."""
        found = self.parameters[self.parameter]
        assert found is not None
        return found
