"""Evaluate the current model and its baselines on the test fold."""

from recsys_spark.cli import run_job
from recsys_spark.experiment import evaluate

if __name__ == "__main__":
    raise SystemExit(run_job("evaluate", evaluate, description=__doc__))
