"""Build user blocks and item blocks of the split's training ratings, with their features."""

from recsys_spark.blocks.job import run
from recsys_spark.cli import run_job

if __name__ == "__main__":
    raise SystemExit(run_job("blocks", run, description=__doc__))
