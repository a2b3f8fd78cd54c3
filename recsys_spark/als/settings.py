"""The settings of a fit, as data: validated once, logged with the run, part of a checkpoint's fingerprint."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RegMode = Literal["constant", "weighted", "inverse_sqrt"]
BiasMode = Literal["learned", "static", "none"]
Exchange = Literal["broadcast", "mixed", "shuffle"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SideSettings(_Frozen):
    """How one side (users or items) is regularised, in the units of J (sums over ratings, not means)."""

    reg: float = Field(12.0, ge=0, description="λ of the factors: pull of a row towards its prior")
    reg_mode: RegMode = Field("constant", description="λ(n): constant λ, weighted λ·n, inverse_sqrt λ/√(n+1)")
    reg_per_rating: float = Field(0.0, ge=0, description="added to λ(n) for each rating, λ(n) + this · n")
    reg_bias: float = Field(5.0, ge=0, description="λ of the biases, constant in every mode")
    bias: BiasMode | None = Field(
        None, description="learned with the factors, static (shrunk means), or none; null: learned, none if implicit"
    )
    reg_features: float = Field(40.0, gt=0, description="λ of the projection of features into factors")
    reg_feature_bias: float = Field(10.0, gt=0, description="λ of the projection of features into the bias")
    graph: float = Field(0.0, ge=0, description="α of the side's graph (where the blocks have one); 0: not used")
    reg_groups: dict[str, float] = Field(
        default_factory=dict, description="a multiplier of both projection λs for a feature group by name"
    )


class StopSettings(_Frozen):
    """Early stopping on the validation RMSE (inactive without validation ratings)."""

    tol: float = Field(1e-4, ge=0, description="relative improvement that counts as one")
    patience: int = Field(3, ge=1, description="iterations without improvement before the fit stops")
    min_iter: int = Field(3, ge=1, description="iterations before stopping is considered")


class UnobservedSettings(_Frozen):
    """What cells without a rating cost, in rows that have any (docs/model.md, Cells without a rating)."""

    weight: float = Field(0.0, ge=0, description="a, the weight of each; 0: they cost nothing")
    target: Literal["baseline"] | float = Field(
        "baseline", description="baseline: a (p·q)², as if rated μ + b + c; or a number t on the scale: a (r̂ - t)²"
    )


class ImplicitSettings(_Frozen):
    """Ratings as confidences of a preference (Hu, Koren, Volinsky 2008), as pyspark.ml.ALS has it."""

    prefs: bool = Field(False, description="preference 1 if r > 0, else 0, for rated and unrated cells alike")
    alpha: float = Field(1.0, ge=0, description="α of the confidence 1 + α|r|")


class AlsSettings(_Frozen):
    """Everything that decides the result of a fit, beside the data and the blocks' grid."""

    rank: int = Field(12, ge=0, le=512, description="width of the factors; 0 is a model of biases alone")
    max_iter: int = Field(20, ge=0, description="iterations: each solves items, then users")
    seed: int = Field(0, description="seed of the initial factors")
    mean: Literal["fitted", "none"] | None = Field(
        None,
        description="μ: fitted (weighted mean of the training ratings) or none (0); null: fitted, none if implicit",
    )
    user: SideSettings = Field(default_factory=SideSettings)
    item: SideSettings = Field(default_factory=lambda: SideSettings(reg=20.0, reg_per_rating=0.02))
    stop: StopSettings = Field(default_factory=StopSettings)
    unobserved: UnobservedSettings = Field(default_factory=UnobservedSettings)
    implicit: ImplicitSettings = Field(default_factory=ImplicitSettings)
    nonnegative: bool = Field(False, description="factors of both sides are not negative; biases may be")
    relaxation: float = Field(
        1.9,
        ge=1,
        lt=2,
        description="ω at most: how far items go, 1 being to their solution; beyond takes fewer iterations",
    )
    update_features_every: int = Field(1, ge=1, description="iterations between solves of the projections")
    clip: tuple[float, float] | None = Field(
        None, description="scale that predictions are clipped to; null: that of the training ratings, none if implicit"
    )

    @model_validator(mode="after")
    def _clip_is_a_range(self) -> AlsSettings:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip must be (low, high) with low < high, found {self.clip}")
        return self

    @model_validator(mode="after")
    def _cells_cost_one_way(self) -> AlsSettings:
        if self.implicit.prefs and self.unobserved.weight:
            raise ValueError(
                "implicit.prefs gives cells without a rating weight 1 and target 0; unobserved.weight must stay 0"
            )
        return self

    @property
    def feedback(self) -> float | None:
        """α of implicit feedback; None where ratings are ratings."""
        return self.implicit.alpha if self.implicit.prefs else None

    def length(self, iteration: int) -> float:
        """ω of an iteration, from 1: 1, 1.33, 1.5, 1.6, … towards 2, at most ``relaxation``."""
        return min(self.relaxation, 2 * iteration / (iteration + 1))

    def resolved(self) -> AlsSettings:
        """These settings with every null that stands for a default replaced by it."""
        bias, mean = ("none", "none") if self.implicit.prefs else ("learned", "fitted")
        sides = {
            name: side.model_copy(update={"bias": side.bias or bias})
            for name, side in (("user", self.user), ("item", self.item))
        }
        return self.model_copy(update={"mean": self.mean or mean, **sides})
