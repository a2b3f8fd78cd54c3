"""Generate a data set in MovieLens format (demo, 1m, 32m), with known limits for a model's error."""

from recsys_spark.cli import run_job
from recsys_spark.generate.job import run

if __name__ == "__main__":
    raise SystemExit(run_job("generate", run, description=__doc__))
