"""Recommend: top-N films for every user to Parquet, by run date."""

from recsys_spark.cli import run_job
from recsys_spark.experiment import score
from recsys_spark.score.job import add_arguments

if __name__ == "__main__":
    raise SystemExit(run_job("score", score, description=__doc__, add_arguments=add_arguments))
