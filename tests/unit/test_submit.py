"""spark-submit.sh with stand-ins: its help, and what it hands to Spark and to the job."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from standins.house import JOB, ROOT


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


def value_of(name: str, given: list[str]) -> str:
    """The value of an option of spark-submit that is given once."""
    (value,) = (given[i + 1] for i, option in enumerate(given) if option == name)
    return value


@pytest.mark.parametrize("master", ["spark://host:7077", "yarn", "k8s://https://host:6443", "local-cluster[2,1,1024]"])
def test_a_cluster_is_sent_the_package(ready, master):
    ready.packable()

    def sent(*options):
        return value_of("--py-files", ready.submitted("--master", master, *options, "jobs/one.py")["args"]).split(",")

    lib, package = sent("--py-files", "lib.py")
    assert lib == "lib.py"
    assert zipfile.ZipFile(package).namelist() == ["recsys_spark/__init__.py"]
    assert sent() == [package], "same sources, same file"
    assert sent("--conf", "spark.submit.pyFiles=lib.py") == ["lib.py", package], "the option would hide the setting"
    (ready.root / "recsys_spark/more.py").write_text("x = 1\n")
    assert sent() != [package]


@pytest.mark.parametrize("master", ["spark://host:7077", "yarn", "k8s://https://host:6443"])
def test_executors_are_sent_the_environment_which_is_packed_once(ready, master):
    ready.packable()
    first = ready.run("--master", master, "--archives", "data.zip#data", "jobs/one.py")
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith(f"Packing {ready.root}/.venv for executors; this happens once")
    given = json.loads(first.stdout)
    data, environment = value_of("--archives", given["args"]).split(",")
    assert data == "data.zip#data"
    archive, name = environment.split("#")
    assert name == "environment"
    assert modules(archive) == {"core/a.py", "helper/a.py"}, "what executors import, and neither Spark nor tests"
    assert given["PYSPARK_PYTHON"] == "./environment/bin/python"
    assert given["PYSPARK_DRIVER_PYTHON"] == f"{ready.root}/.venv/bin/python"

    second = ready.run("--master", master, "jobs/one.py")
    assert second.stderr == ""
    assert value_of("--archives", json.loads(second.stdout)["args"]) == environment
    assert [file.name for file in (ready.root / ".venv/shipped").iterdir() if "environment" in file.name] == [
        Path(archive).name
    ]
    stamp = ready.root / ".venv/.installed"
    stamp.write_text(stamp.read_text() + "requirements-dev.lock 1 1\n")
    third = ready.submitted("--master", master, "jobs/one.py")
    assert value_of("--archives", third["args"]) != environment, "another lock, another environment"


def modules(archive: str) -> set[str]:
    """Modules in a packed environment, below its site-packages."""
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    assert {"pyvenv.cfg", "bin/python"} <= names
    return {name.split("site-packages/")[1] for name in names if name.endswith(".py") and "site-packages/" in name}


def test_an_environment_that_lacks_a_package_is_not_sent(ready):
    ready.packable()
    shutil.rmtree(ready.root / ".venv/lib/python3.11/site-packages/helper-1.dist-info")
    done = ready.run("--master", "yarn", "jobs/one.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"helper is missing in {ready.root}/.venv: delete that folder and run" in done.stderr


@pytest.mark.parametrize(
    ("options", "env", "archives", "python"),
    [
        (["--installed"], {}, None, "python3"),
        (["--installed"], {"PYSPARK_PYTHON": "/opt/python3"}, None, "/opt/python3"),
        ([], {"PYSPARK_PYTHON": "/opt/python3"}, None, "/opt/python3"),
        (["--archives=hdfs:///e.tar.gz#environment"], {}, "hdfs:///e.tar.gz#environment", "./environment/bin/python"),
        (
            ["--conf", "spark.archives=e.tar.gz#environment,d.zip#d"],
            {},
            "e.tar.gz#environment,d.zip#d",
            "./environment/bin/python",
        ),
    ],
)
def test_an_environment_that_executors_have_is_not_sent(ready, options, env, archives, python):
    ready.packable()
    given = ready.submitted("--master", "yarn", *options, "jobs/one.py", **env)
    assert ("--archives" in given["args"]) == (archives is not None)
    assert archives is None or value_of("--archives", given["args"]) == archives
    assert given["PYSPARK_PYTHON"] == python
    assert "--installed" not in given["args"]
    assert not list((ready.root / ".venv/shipped").glob("environment*"))


def test_an_environment_that_cannot_be_packed(ready):
    ready.packable()
    (ready.root / ".venv/lib/python3.11/site-packages/mine.pth").write_text("/home/me/mine\n")
    done = ready.run("--master", "yarn", "jobs/one.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Cannot pack" in done.stderr
    assert "/home/me/mine" in done.stderr
    assert "submit with --installed" in done.stderr


@pytest.mark.parametrize(
    ("master", "name"),
    [("local[2]", "local"), ("spark://h:1", "standalone"), ("yarn", "yarn"), ("k8s://https://h", "kubernetes")],
)
def test_each_kind_of_cluster_has_its_settings(ready, master, name):
    folder = ready.root / "conf/spark"
    folder.mkdir()
    (folder / f"{name}.conf").write_text("")
    options = ["--master", master, "--installed"]
    ready.packable()
    given = ready.submitted(*options, "jobs/one.py")["args"]
    assert value_of("--properties-file", given) == str(folder / f"{name}.conf")
    assert "--load-spark-defaults" in given
    (ready.root / "mine.conf").write_text("")
    given = ready.submitted(*options, "--properties-file", "mine.conf", "jobs/one.py")["args"]
    assert value_of("--properties-file", given) == "mine.conf"
    assert "--load-spark-defaults" not in given
    assert "--properties-file" not in ready.submitted(*options, "jobs/one.py", SPARK_CONF_DIR="/etc/spark")["args"]


def test_every_setting_of_a_cluster_has_its_reason():
    for file in (ROOT / "conf/spark").glob("*.conf"):
        lines = file.read_text().splitlines()
        assert lines[0].startswith("# --master ")
        for above, line in pairwise(lines):
            if line and not line.startswith("#"):
                assert line.startswith("spark."), f"{file.name}: {line}"
                assert len(line.split()) == 2, f"{file.name}: {line}"
                assert above, f"{file.name}: {line} has no reason above it"


@pytest.mark.parametrize(
    "options", [["--deploy-mode", "cluster"], ["--conf", "spark.submit.deployMode=cluster"]], ids=["option", "conf"]
)
def test_a_standalone_cluster_runs_no_python_driver(ready, options):
    done = ready.run("--master", "spark://host:7077", *options, "jobs/one.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "standalone clusters do not run Python drivers (--deploy-mode cluster): submit with" in done.stderr


@pytest.mark.parametrize("master", ["yarn", "k8s://https://host:6443"])
def test_a_driver_in_the_cluster_runs_the_environment_that_is_sent(ready, master):
    ready.packable()
    given = ready.submitted("--master", master, "--deploy-mode", "cluster", "jobs/one.py")
    assert given["PYSPARK_PYTHON"] == "./environment/bin/python"
    assert given["PYSPARK_DRIVER_PYTHON"] is None
    archive, name = value_of("--archives", given["args"]).split("#")
    assert name == "environment"
    assert modules(archive) == {"core/a.py", "helper/a.py", "tool/a.py"}, "the driver's packages too"


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
