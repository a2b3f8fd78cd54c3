"""Fit along one parameter (rank, λ, share of the ratings): training and test errors, and the gap between them."""

from recsys_spark.cli import run_job
from recsys_spark.tuning.sweep import add_arguments, run

if __name__ == "__main__":
    raise SystemExit(run_job("sweep", run, description=__doc__, add_arguments=add_arguments))
