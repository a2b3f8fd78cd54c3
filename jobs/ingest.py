"""Read a release of ratings, check it, and publish it as typed Parquet."""

from recsys_spark.cli import run_job
from recsys_spark.ingest.job import run

if __name__ == "__main__":
    raise SystemExit(run_job("ingest", run, description=__doc__))
