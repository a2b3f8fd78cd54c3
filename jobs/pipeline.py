"""Run every step, from raw data to recommendations, and print a summary."""

from recsys_spark.cli import run_job
from recsys_spark.experiment import pipeline

if __name__ == "__main__":
    raise SystemExit(run_job("pipeline", pipeline, description=__doc__))
