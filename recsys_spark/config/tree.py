"""Every setting of every job, typed, with its default and its meaning; ``conf/default.yaml`` says the same as YAML."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from recsys_spark.als.settings import AlsSettings, Exchange
from recsys_spark.config.benchmark import BenchmarkSettings
from recsys_spark.config.daily import RetrainSettings, ScoreSettings
from recsys_spark.config.section import Section
from recsys_spark.config.study import AblateSettings, StudySettings, SweepSettings, TuneSettings


class GenerateSettings(Section):
    """The data generator."""

    preset: Literal["demo", "1m", "32m", "320m"] = Field(
        "demo", description="size: demo (100 k ratings), 1m, 32m or 320m"
    )
    seed: int = Field(42, description="same seed, same bits")
    out: str | None = Field(None, description="where the release goes; null: {workdir}/{dataset}/raw")
    csv: bool = Field(
        True, description="a preset is ingested from its release; false: drawn into the lake's tables, without oracles"
    )


class IngestSettings(Section):
    """Reading and checking a release."""

    max_rejected_share: float = Field(0.01, ge=0, le=1, description="share of bad rows above which the job fails")
    scale: tuple[float, float] | None = Field(None, description="lowest and highest rating; null: the release's own")
    cache: str = Field("~/.cache/recsys_spark", description="where downloaded releases are kept")
    max_download_gb: float = Field(4.0, gt=0, description="a larger download is refused (10⁹ bytes)")
    max_unpacked_gb: float = Field(32.0, gt=0, description="a zip whose tables are larger is refused (10⁹ bytes)")

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> IngestSettings:
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale must be [low, high] with low < high, found {list(self.scale)}")
        return self


class SplitSettings(Section):
    """Named, frozen splits of the ratings into training, validation and test."""

    name: str = Field("folds", pattern=r"^[A-Za-z0-9_-]+$", description="name that the split is kept under")
    kind: Literal["kfold", "latest_n", "time_cut", "leave_one_out", "cold_items"] = Field(
        "kfold", description="kfold, latest_n (of each user), time_cut, leave_one_out or cold_items"
    )
    folds: int = Field(10, ge=2, description="kfold: number of folds")
    n: int = Field(5, ge=1, description="latest_n: test ratings per user")
    cut: date | None = Field(None, description="time_cut: first test day (UTC); null: the latest `share` of ratings")
    share: float = Field(0.1, gt=0, lt=1, description="time_cut, cold_items: share of ratings or items held out")
    seed: int = Field(7, description="seed of the hash that assigns folds")
    test_fold: int = Field(0, ge=0, description="fold that is tested on; the others train")
    validation_share: float = Field(0.05, ge=0, lt=1, description="share of the training rows kept for early stopping")

    @model_validator(mode="after")
    def _test_fold_exists(self) -> SplitSettings:
        folds = self.folds if self.kind == "kfold" else 1
        if self.test_fold >= folds:
            raise ValueError(f"test_fold must be below {folds} for kind {self.kind}, found {self.test_fold}")
        return self


class GroupSpec(Section):
    """One named group of features, made from one column."""

    name: str = Field(min_length=1, description="name of the group")
    column: str = Field(min_length=1, description="column it is made from")
    kind: Literal["one_hot", "multi_hot", "bins", "numeric"] = Field(
        description="one_hot of a value, multi_hot of an array, bins of a number, or the number itself"
    )
    width: float | None = Field(None, gt=0, description="bins: width of a bin, in the column's unit")
    min_count: int = Field(1, ge=1, description="values that fewer rows have are left out")
    normalise: Literal["row_l1", "col_zscore", "none"] = Field(
        "none", description="row_l1 (a row's values sum to 1), col_zscore or none"
    )
    table: str | None = Field(None, description="a further Parquet table with the key; null: movies or users")

    @model_validator(mode="after")
    def _bins_have_a_width(self) -> GroupSpec:
        if (self.kind == "bins") != (self.width is not None):
            raise ValueError(f"group {self.name!r}: width goes with kind bins, and bins with a width")
        return self


_ITEM_GROUPS = (
    GroupSpec(name="genre", column="genres", kind="multi_hot", normalise="row_l1"),
    GroupSpec(name="year", column="year", kind="bins", width=5, normalise="row_l1"),
)


class FeatureSettings(Section):
    """Side features of items and users."""

    item: tuple[GroupSpec, ...] = Field(_ITEM_GROUPS, description="groups of item features")
    user: Literal["auto"] | tuple[GroupSpec, ...] = Field(
        "auto", description="groups of user features; auto: one_hot of each text column of the users table"
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> FeatureSettings:
        for side, groups in (("item", self.item), ("user", self.user)):
            names = [] if groups == "auto" else [group.name for group in groups]
            if len(set(names)) < len(names):
                raise ValueError(f"two groups of {side} features have one name, found {names}")
        return self


class GraphSpec(Section):
    """A graph between the rows of one side: by the cosine of their features, or a given table of similarities."""

    groups: tuple[str, ...] | None = Field(None, description="feature groups that are compared; null: all")
    table: str | None = Field(None, description="instead, a Parquet table (i, j, s) of ids and similarities")
    top_k: int | None = Field(50, ge=1, description="neighbours of a row; null (tables only): all")
    min_similarity: float = Field(0.0, ge=0, description="similarities below are dropped")

    @model_validator(mode="after")
    def _one_source(self) -> GraphSpec:
        if self.table and self.groups is not None:
            raise ValueError("a graph is made from groups or from a table, not from both")
        if not self.table and self.top_k is None:
            raise ValueError("a graph of features needs a top_k")
        return self


class BlockSettings(Section):
    """The grid of rating blocks, which never changes the result, and graphs (train.user.graph, train.item.graph)."""

    users: int = Field(0, ge=0, description="number of user blocks; 0: from the ratings and the cores")
    items: int = Field(0, ge=0, description="number of item blocks; 0: from the ratings and the cores")
    user_graph: GraphSpec | None = Field(None, description="graph between users: groups or table, top_k, ...")
    item_graph: GraphSpec | None = Field(None, description="graph between items: groups or table, top_k, ...")


class FitSettings(Section):
    """How a fit runs; nothing here changes the result."""

    execution: Literal["auto", "stages", "task"] = Field(
        "auto", description="stages, task (inside one Spark task: for small data) or auto"
    )
    exchange: Literal["auto", Exchange] = Field(
        "auto",
        description="broadcast (rows go to blocks through the driver), shuffle (from block to block), mixed (through "
        "the driver those of the side that has fewer) or auto",
    )
    checkpoint_every: int = Field(
        10, ge=0, description="iterations between checkpoints, from which a fit that was cut short goes on; 0: none"
    )


class PysparkSettings(Section):
    """The pyspark.ml.ALS baselines."""

    rank: int = Field(20, ge=1, description="rank of the pyspark.ml.ALS baselines")
    reg: float = Field(0.1, ge=0, description="their regParam")
    iterations: int = Field(10, ge=1, description="their maxIter")


Baseline = Literal["global_mean", "biases", "pyspark_als", "pyspark_als_centred"]


class RankingSettings(Section):
    """Top-N lists of the model, of popularity and of a truncated SVD, judged by the test ratings."""

    k: int = Field(10, ge=0, description="length of the lists; 0: no ranking metrics")
    users: int = Field(10_000, ge=0, description="test users that are looked at, chosen by a hash; 0: all")
    relevant: float | None = Field(
        None, description="lowest rating of a relevant test item; null: three quarters up the scale"
    )
    svd_rank: int = Field(32, ge=1, description="rank of the truncated SVD")
    svd_ratings: int = Field(
        5_000_000, ge=0, description="training ratings above which it is left out: it is made on the driver"
    )


class EvaluateSettings(Section):
    """Metrics and baselines."""

    bins: tuple[int, ...] = Field(
        (0, 1, 3, 6, 16), description="lower bounds of the popularity bins, in training ratings of the item"
    )
    baselines: tuple[Baseline, ...] = Field(
        ("global_mean", "biases", "pyspark_als", "pyspark_als_centred"), description="baselines on the same rows"
    )
    pyspark: PysparkSettings = Field(PysparkSettings(), description="settings of the pyspark.ml.ALS baselines")
    ranking: RankingSettings = RankingSettings()

    @model_validator(mode="after")
    def _bins_increase(self) -> EvaluateSettings:
        if not self.bins or self.bins[0] != 0 or list(self.bins) != sorted(set(self.bins)):
            raise ValueError(f"bins must start at 0 and increase, found {list(self.bins)}")
        return self


class TrackingSettings(Section):
    """MLflow."""

    enabled: bool = Field(True, description="log trainings to MLflow")
    uri: str | None = Field(None, description="tracking server; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    pending: str = Field(
        "mlflow-pending", min_length=1, description="folder for records that the server did not take (jobs/replay.py)"
    )
    experiment: str = Field("recsys_spark", min_length=1, description="experiment the runs belong to")
    run_name: str | None = Field(None, description="name of the run; null: MLflow chooses")
    register_as: str | None = Field(None, description="name to register the model under; null: it is not registered")


class Settings(Section):
    """The whole tree: one section per step."""

    dataset: str = Field(
        "demo", min_length=1, description="preset (demo, 1m, 32m, 320m), a folder, a zip, or a release's name"
    )
    workdir: str = Field("lake", min_length=1, description="root of the lake: path or URI")
    generate: GenerateSettings = GenerateSettings()
    ingest: IngestSettings = IngestSettings()
    split: SplitSettings = SplitSettings()
    features: FeatureSettings = FeatureSettings()
    blocks: BlockSettings = BlockSettings()
    train: AlsSettings = AlsSettings()
    fit: FitSettings = FitSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    score: ScoreSettings = ScoreSettings()
    retrain: RetrainSettings = RetrainSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    study: StudySettings = StudySettings()
    tune: TuneSettings = TuneSettings()
    ablate: AblateSettings = AblateSettings()
    sweep: SweepSettings = SweepSettings()
    tracking: TrackingSettings = TrackingSettings()


def dataset_slug(dataset: str) -> str:
    """Name of a data set's folder in the lake: the last part of its path, without ``.zip``.

    Two data sets whose paths end alike need a workdir each.

    >>> dataset_slug("s3a://bucket/My data/ml-1m.zip"), dataset_slug("demo")
    ('ml-1m', 'demo')
    """
    name = re.split(r"[/\\]", dataset.rstrip("/\\"))[-1].removesuffix(".zip")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"


def step_root(settings: Settings, step: str) -> str:
    """Where a step publishes: ``{workdir}/{data set}/{step}``, to be given to :mod:`recsys_spark.lake`."""
    return f"{settings.workdir.rstrip('/')}/{dataset_slug(settings.dataset)}/{step}"


def conf_dir() -> Path | None:
    """The project's ``conf`` folder beside the package, or None where only the package is installed."""
    folder = Path(__file__).resolve().parents[2] / "conf"
    return folder if (folder / "default.yaml").is_file() else None
