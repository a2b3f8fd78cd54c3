"""Tell MLflow what its store did not take while it was locked or out of reach."""

from recsys_spark.cli import run_job
from recsys_spark.experiment import replay

if __name__ == "__main__":
    raise SystemExit(run_job("replay", replay, description=__doc__))
