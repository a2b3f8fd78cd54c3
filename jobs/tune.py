"""Search the model's settings with Optuna, inside each outer fold of a study and over all of them."""

from recsys_spark.cli import run_job
from recsys_spark.tuning.job import add_arguments, run

if __name__ == "__main__":
    raise SystemExit(run_job("tune", run, description=__doc__, add_arguments=add_arguments))
