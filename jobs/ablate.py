"""Take the model apart: every variant on the study's folds, compared with the full model by paired tests."""

from recsys_spark.ablation.job import run
from recsys_spark.cli import run_job

if __name__ == "__main__":
    raise SystemExit(run_job("ablate", run, description=__doc__))
