"""Split the ingested ratings into named, frozen folds."""

from recsys_spark.cli import run_job
from recsys_spark.ingest.split_job import run

if __name__ == "__main__":
    raise SystemExit(run_job("split", run, description=__doc__))
