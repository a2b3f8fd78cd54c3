"""Train the block-ALS model on the current blocks and log the run to MLflow."""

from recsys_spark.cli import run_job
from recsys_spark.experiment import train

if __name__ == "__main__":
    raise SystemExit(run_job("train", train, description=__doc__))
