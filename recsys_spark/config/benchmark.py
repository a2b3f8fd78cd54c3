"""Settings of the benchmark: who is measured, and what of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from recsys_spark.config.section import Section

ALL = "all"
ON_SPARK = ("blockals", "pyspark")
"""Kinds that are fitted in a session of Spark."""
Part = Literal["compare", "curves", "heap", "scaling", "convergence", "weak", "kernels"]
PARTS: tuple[Part, ...] = ("compare", "curves", "heap", "scaling", "convergence", "weak", "kernels")


class Contender(Section):
    """A model that is measured: who fits it, and what differs from the settings of all."""

    kind: Literal["blockals", "pyspark", "cmfrec", "implicit"] = Field("blockals", description="who fits it")
    set: dict[str, Any] = Field({}, description="settings that differ, by their dotted names (blockals, pyspark)")
    groups: tuple[str, ...] | None = Field((), description="feature groups that it gets; null: all (blockals, cmfrec)")
    offset: Literal["none", "mean", "biases"] = Field(
        "none", description="taken off the ratings before the fit: nothing, their mean, or shrunken biases (pyspark)"
    )
    regs: tuple[float, ...] | Literal["all"] = Field(
        (), description="λs of which the best on validation ratings is measured; all: benchmark.regs; []: as set"
    )
    reg_of: str | None = Field(None, description="the λ that was found best for this contender; not with regs")

    @model_validator(mode="after")
    def _one_source_of_reg(self) -> Contender:
        if self.regs and self.reg_of:
            raise ValueError(f"regs and reg_of exclude one another, found {self.regs!r} and {self.reg_of!r}")
        return self


class Reference(Section):
    """Figures that somebody else has published, printed beside the measured ones."""

    iteration: float | None = Field(None, gt=0, description="seconds of an iteration")
    test_rmse: float | None = Field(None, gt=0, description="RMSE on ratings held out")
    note: str = Field("", description="whose they are")


_BIASES_OFF = {"train.mean": "none", "train.user.bias": "none", "train.item.bias": "none"}
_WEIGHTED = {
    f"train.{side}.{key}": value
    for side in ("user", "item")
    for key, value in (("reg_mode", "weighted"), ("reg_per_rating", 0.0))
}
_NO_GRAPH: dict[str, Any] = {"train.item.graph": 0.0, "train.user.graph": 0.0}
_GRAPH = {"train.item.graph": 0.03, "blocks.item_graph": {"groups": ["genre", "year"], "top_k": 15}}
_MODELS: dict[str, Contender | None] = {
    "blockals_factors": Contender(set=_BIASES_OFF | _WEIGHTED | _NO_GRAPH, reg_of="pyspark"),
    "blockals_biases": Contender(set=_NO_GRAPH),
    "blockals_features": Contender(set=_NO_GRAPH, groups=None),
    "blockals_graph": Contender(set=_GRAPH, groups=None),
    "biases": Contender(set=_NO_GRAPH | {"train.rank": 0}),
    "pyspark": Contender(kind="pyspark", regs=ALL),
    "pyspark_centred": Contender(kind="pyspark", offset="mean", regs=ALL),
    "pyspark_residuals": Contender(kind="pyspark", offset="biases", regs=ALL),
    "cmfrec": Contender(kind="cmfrec", regs=ALL),
    "cmfrec_features": Contender(kind="cmfrec", groups=None, reg_of="cmfrec"),
    "implicit": Contender(kind="implicit"),
}


class BenchmarkSettings(Section):
    """The benchmark of BlockALS beside pyspark.ml.ALS and others, and of the kernels."""

    sections: tuple[Part, ...] = Field(
        ("compare", "curves"), min_length=1, description=f"what is measured: {', '.join(PARTS)}"
    )
    contenders: tuple[str, ...] = Field(
        ("blockals_factors", "blockals_features", "biases", "pyspark", "pyspark_residuals"),
        min_length=1,
        description="which of the models below are measured; [all]: all of them",
    )
    models: dict[str, Contender | None] = Field(_MODELS, description="contenders by name; null takes one away")
    ours: str = Field("blockals_features", description="contender that ratios are told of, measured `repeats` times")
    baseline: str = Field("pyspark", description="contender that it is compared with, likewise")
    rank: int = Field(32, ge=1, le=512, description="width of all contenders' factors")
    max_iter: int = Field(10, ge=1, description="iterations of every fit that is judged; none stops early")
    repeats: int = Field(3, ge=1, description="measurements of ours and baseline, in turns; the median is the claim")
    iterations: int = Field(5, ge=5, description="least n of an iteration's time, (T(1 + n) − T(1)) / n")
    curve: tuple[int, ...] = Field(
        (1, 2, 3, 5), description="curves: iterations of further fits of contenders that keep no history"
    )
    regs: tuple[float, ...] = Field(
        (0.02, 0.05, 0.1, 0.15, 0.2),
        min_length=1,
        description="λ·n, regParam, that contenders whose regs say all are sought the best of, downhill",
    )
    cores: int = Field(0, ge=0, description="cores of each measured process; 0: all that this process may use")
    driver_memory: str = Field("4g", pattern=r"^[1-9][0-9]*[mg]$", description="JVM heap of each measured session")
    blocks: tuple[int, ...] = Field(
        (2, 4, 8, 10), min_length=1, description="blocks a side that pyspark.ml.ALS is tried with; the best one counts"
    )
    cache: tuple[bool, ...] = Field(
        (False, True), min_length=1, description="whether its ratings are cached first; likewise"
    )
    conf: dict[str, str] = Field({}, description="further properties of the measured sessions, the same for all")
    sample_seconds: float = Field(0.3, gt=0, description="least seconds between two looks at the memory")
    heap_steps: int = Field(4, ge=1, description="heap: halvings of the interval that the smallest heap is sought in")
    heap_patience: float = Field(
        4.0, gt=1, description="heap: times the seconds under driver_memory after which a fit counts as not completed"
    )
    scaled: tuple[str, ...] = Field(
        ("blockals_features", "pyspark"), min_length=1, description="scaling: contenders measured"
    )
    shares: tuple[float, ...] = Field(
        (1 / 32, 1 / 8, 1 / 2, 1.0), min_length=1, description="scaling: shares of the users that are fitted to"
    )
    ranks: tuple[int, ...] = Field((10, 32, 64, 128), min_length=1, description="scaling: ranks")
    core_counts: tuple[int, ...] = Field((1, 2), min_length=1, description="scaling: cores")
    executors: tuple[int, ...] = Field(
        (1, 2),
        min_length=1,
        description="weak: one-core executors; the most of them get all users, fewer in proportion",
    )
    convergence: int = Field(30, ge=2, description="convergence: iterations, with relaxation and without")
    kernel_ranks: tuple[int, ...] = Field((10, 32, 64, 128), min_length=1, description="kernels: ranks measured")
    kernel_ratings: int = Field(3_000_000, ge=1, description="kernels: generated ratings that are swept over")
    published: dict[str, Reference | None] = Field({}, description="figures of others by name, printed beside")

    @model_validator(mode="after")
    def _contenders_are_known(self) -> BenchmarkSettings:
        known = self.known
        asked = {
            "contenders": [name for name in self.contenders if name != ALL],
            "ours": [self.ours],
            "baseline": [self.baseline],
            "scaled": self.scaled,
            "reg_of": [model.reg_of for model in known.values() if model.reg_of],
        }
        for key, names in asked.items():
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"{key}: no contender {', '.join(unknown)}; known: {', '.join(known)}")
        others = [name for name in self.scaled if known[name].kind not in ON_SPARK]
        if others:
            raise ValueError(f"scaled: {', '.join(others)} is measured on all users alone; name contenders on Spark")
        return self

    @property
    def known(self) -> dict[str, Contender]:
        """All models by name."""
        return {name: model for name, model in self.models.items() if model is not None}

    @property
    def chosen(self) -> dict[str, Contender]:
        """Those that are measured, in the order of `models`."""
        known = self.known
        return known if ALL in self.contenders else {n: m for n, m in known.items() if n in self.contenders}
