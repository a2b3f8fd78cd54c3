"""spark-submit.sh with stand-ins: its help, and what it hands to Spark and to the job."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile

import pytest

from standins.house import JOB


def test_help_lists_the_jobs_and_needs_nothing(house):
    (house.bin / "java").unlink()
    (house.bin / "python3").unlink()
    done = house.run("--help")
    assert done.returncode == 0
    assert "jobs/one.py         Do one thing.\n" in done.stdout
    assert "jobs/two.py         Do two things.\n" in done.stdout
    assert house.run("-h").stdout == done.stdout


def test_without_a_job_the_usage(house):
    done = house.run("--master", "local[1]")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: ./spark-submit.sh" in done.stderr


def test_an_unknown_job_is_named(house):
    done = house.run("jobs/three.py")
    assert done.returncode == 1
    assert "There is no job at jobs/three.py; ./spark-submit.sh --help lists the jobs." in done.stderr


def test_an_option_without_its_value(house):
    assert "spark-submit option --master needs a value." in house.run("--master").stderr


def test_arguments_are_split_at_the_job(ready):
    given = ready.submitted(
        "--conf",
        "spark.x=a b",
        "--name=n",
        "-v",
        "--py-files",
        "lib.py",
        "jobs/one.py",
        "--master",
        "x",
        "--help",
        "a b",
        "",
    )["args"]
    job = str(ready.root / "jobs/one.py")
    here = given.index("jobs/one.py" if "jobs/one.py" in given else job)
    assert given[:here] == [
        *("--master", "local[*,4]", "--conf", "spark.x=a b", "--name", "n", "-v", "--py-files", "lib.py"),
    ]
    assert given[here + 1 :] == ["--master", "x", "--help", "a b", ""]


def test_spark_gets_the_projects_environment_from_any_folder(ready, tmp_path):
    found = ready.submitted("jobs/one.py", cwd=tmp_path, PYTHONPATH="/other", SPARK_HOME="/some/spark")
    python = str(ready.root / ".venv/bin/python")
    assert found == {
        "args": ["--master", "local[*,4]", str(ready.root / "jobs/one.py")],
        "cwd": str(tmp_path),
        "SPARK_HOME": str(ready.root / ".venv/lib/python3.11/site-packages/pyspark"),
        "SPARK_CONF_DIR": str(ready.root / "conf"),
        "SPARK_DRIVER_MEMORY": "3g",
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
        "PYTHONPATH": f"{ready.root}:/other",
    }


def test_what_the_caller_has_set_stays(ready):
    env = {"SPARK_DRIVER_MEMORY": "1g", "PYSPARK_PYTHON": "./env/python", "SPARK_CONF_DIR": "/etc/spark"}
    found = ready.submitted("jobs/one.py", **env)
    assert {key: found[key] for key in env} == env


def test_a_job_of_ones_own_is_run_where_it_lies(ready, tmp_path):
    (tmp_path / "mine.py").write_text(JOB)
    assert ready.submitted("mine.py", cwd=tmp_path)["args"][-1] == "mine.py"


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--master", "local[3]"], {}),
        (["--master=local"], {}),
        (["--conf", "spark.master=local[3]"], {}),
        (["-c", "spark.master=local[3]"], {}),
        (["--properties-file", "my.conf"], {}),
        ([], {"MASTER": "local[3]"}),
        (["--remote", "sc://host"], {}),
    ],
)
def test_the_default_master_gives_way(ready, options, env):
    (ready.root / "my.conf").write_text("# spark.master local[9]\nspark.master   local[3]\n")
    given = ready.submitted(*options, "jobs/one.py", **env)["args"]
    assert "local[*,4]" not in given
    assert "--py-files" not in given


@pytest.mark.parametrize("separator", [" ", "=", " = ", "\t"])
def test_a_master_in_sparks_own_defaults_is_respected(ready, tmp_path, separator):
    (tmp_path / "spark-defaults.conf").write_text(f"spark.master{separator}local[3]\nspark.masterly no\n")
    assert "--master" not in ready.submitted("jobs/one.py", SPARK_CONF_DIR=str(tmp_path))["args"]


@pytest.mark.parametrize("master", ["spark://host:7077", "yarn", "local-cluster[2,1,1024]"])
def test_a_cluster_is_sent_the_package(ready, master):
    python = ready.root / ".venv/bin/python"
    python.unlink()
    os.symlink(sys.executable, python)
    given = ready.submitted("--master", master, "--py-files", "lib.py", "jobs/one.py")["args"]
    (files,) = (given[i + 1] for i, name in enumerate(given) if name == "--py-files")
    lib, package = files.split(",")
    assert lib == "lib.py"
    assert zipfile.ZipFile(package).namelist() == ["recsys_spark/__init__.py"]
    assert ready.submitted("--master", master, "jobs/one.py")["args"][-2] == package, "same sources, same file"
    (ready.root / "recsys_spark/more.py").write_text("x = 1\n")
    assert ready.submitted("--master", master, "jobs/one.py")["args"][-2] != package


@pytest.mark.parametrize(
    "options",
    [["--deploy-mode", "cluster"], ["--conf", "spark.submit.deployMode=cluster"], ["--remote", "sc://host"]],
)
def test_only_a_driver_elsewhere_is_started_by_spark_submit(ready, options):
    (ready.root / "jobs/one.py").write_text('"""Nothing to record: spark-submit does."""\n')
    assert ready.submitted(*options, "jobs/one.py", "x")["args"][-2:] == ["jobs/one.py", "x"]


def test_options_keep_their_quotes_and_spaces(ready):
    value = """spark.x=it's "a" $b \\ c"""
    assert value in ready.submitted("--conf", value, "jobs/one.py")["args"]


def test_an_environment_without_spark_is_refused(ready):
    shutil.rmtree(ready.root / ".venv/lib")
    done = ready.run("jobs/one.py")
    assert done.returncode == 1
    assert "pyspark is missing in" in done.stderr
