"""Retrain: go on from the champion on the newest ratings, promote what wins, keep what does not; or roll back."""

from recsys_spark.cli import run_job
from recsys_spark.retrain.job import add_arguments, run

if __name__ == "__main__":
    raise SystemExit(run_job("retrain", run, description=__doc__, add_arguments=add_arguments))
