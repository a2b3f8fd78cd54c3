"""The whole study: tune inside folds, take the model apart, test the differences, one page of results."""

from recsys_spark.cli import run_job
from recsys_spark.study.job import add_arguments, run

if __name__ == "__main__":
    raise SystemExit(run_job("study", run, description=__doc__, add_arguments=add_arguments))
