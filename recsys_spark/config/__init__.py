"""The settings of all jobs: one typed tree, read from YAML files and the command line."""

from recsys_spark.config.load import load_settings
from recsys_spark.config.study import AblateSettings, Dimension, StudySettings, TuneSettings, Variant
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
    ScoreSettings,
    Settings,
    SplitSettings,
    TrackingSettings,
    conf_dir,
    dataset_slug,
    step_root,
)

__all__ = [
    "AblateSettings",
    "BlockSettings",
    "Dimension",
    "EvaluateSettings",
    "FeatureSettings",
    "GenerateSettings",
    "GraphSpec",
    "GroupSpec",
    "IngestSettings",
    "PysparkSettings",
    "RankingSettings",
    "ScoreSettings",
    "Settings",
    "SplitSettings",
    "StudySettings",
    "TrackingSettings",
    "TuneSettings",
    "Variant",
    "conf_dir",
    "dataset_slug",
    "load_settings",
    "step_root",
]
