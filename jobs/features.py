"""Build item and user features: named groups of columns, normalised."""

from recsys_spark.cli import run_job
from recsys_spark.features.job import run

if __name__ == "__main__":
    raise SystemExit(run_job("features", run, description=__doc__))
