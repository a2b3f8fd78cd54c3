"""The settings of all jobs: one typed tree, read from YAML files and the command line."""

from recsys_spark.config.benchmark import BenchmarkSettings, Contender
from recsys_spark.config.daily import CandidateSettings, GateSettings, ScoreSettings
from recsys_spark.config.load import load_settings
from recsys_spark.config.study import (
    AblateSettings,
    Dimension,
    Parameter,
    StudySettings,
    SweepSettings,
    TuneSettings,
    Variant,
)
from recsys_spark.config.tree import (
    BlockSettings,
    EvaluateSettings,
    FeatureSettings,
    GenerateSettings,
    GraphSpec,
    GroupSpec,
    IngestSettings,
    PysparkSettings,
    RankingSettings,
    Settings,
    SplitSettings,
    TrackingSettings,
    conf_dir,
    dataset_slug,
    step_root,
)

__all__ = [
    "AblateSettings",
    "BenchmarkSettings",
    "BlockSettings",
    "CandidateSettings",
    "Contender",
    "Dimension",
    "EvaluateSettings",
    "FeatureSettings",
    "GateSettings",
    "GenerateSettings",
    "GraphSpec",
    "GroupSpec",
    "IngestSettings",
    "Parameter",
    "PysparkSettings",
    "RankingSettings",
    "ScoreSettings",
    "Settings",
    "SplitSettings",
    "StudySettings",
    "SweepSettings",
    "TrackingSettings",
    "TuneSettings",
    "Variant",
    "conf_dir",
    "dataset_slug",
    "load_settings",
    "step_root",
]
