"""Measure BlockALS beside pyspark.ml.ALS: build, iteration, memory, test RMSE; or the kernels beside sgemm."""

from recsys_spark.benchmark.job import add_arguments, run
from recsys_spark.cli import run_job

if __name__ == "__main__":
    raise SystemExit(run_job("benchmark", run, description=__doc__, add_arguments=add_arguments))
