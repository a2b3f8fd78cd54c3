"""The executors' check on a real cluster."""

from __future__ import annotations

# One cluster for all cases: starting one takes longer than all of them.
SCRIPT = """
import importlib.util, socket
from recsys_spark import session
from recsys_spark.errors import EnvironmentProblem

def check():
    try:
        session.check_executors(spark)
        return "fine"
    except EnvironmentProblem as problem:
        return str(problem)

# What is defined here travels by value, so that executors can be asked for what they lack.
def lacks_a_package(_):
    yield socket.gethostname(), tuple(n for n in ("numpy", "absent_package") if importlib.util.find_spec(n) is None)

def lacks_ours(_):
    import recsys_spark_absent

def fails(_):
    raise ZeroDivisionError("something else")

said = {"whole": check()}
for session.probe in (lacks_a_package, lacks_ours):
    said[session.probe.__name__] = check()
session.probe = fails
try:
    check()
except Exception as error:
    said["fails"] = str(error)
spark.sparkContext.pythonExec = "/nowhere/python3"
said["no_python"] = check()
print(json.dumps(said))
"""


def test_what_is_said_about_executors(run_cluster_script):
    said = run_cluster_script(SCRIPT, conf={"spark.task.maxFailures": "1"})
    assert said["whole"] == "fine"
    assert "lack absent_package: run `pip install recsys-spark` in their Python" in said["lacks_a_package"]
    assert said["lacks_ours"].startswith("executors cannot import recsys_spark_absent: run `pip install")
    assert "ZeroDivisionError: something else" in said["fails"]
    assert said["no_python"].startswith("executors cannot start /nowhere/python3: install Python 3.")
