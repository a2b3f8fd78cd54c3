"""spark-submit.sh against stand-ins for Java, Python, pip and Spark: what it checks, installs and hands over."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cksum", "cp", "dirname", "grep", "head", "mkdir", "mv", "rm", "sed", "tail")

# Answers what the script asks of a Python: its version, the file lock, a virtual environment, pip.
PYTHON = """\
#!{bash}
echo "$(basename "$0") $1 $2 $3" >> "{log}"
case "$1 $2" in
  "-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip")
    exec {python} -c '
import fcntl, os, sys
with open(sys.argv[1]) as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(int(os.environ.get("PIP_EXIT", "0")))
sys.exit("pip ran without the lock")' "{env}" ;;
  "-c import fcntl"*) [ -z "${{WAITING:-}}" ] || echo waiting > "$WAITING"; exec {python} "$@" ;;
  "-c "*) {answer} ;;
  *) exec {python} "$@" ;;
esac
"""
# Shows what Spark was given.
SUBMIT = """\
#!{python}
import json, os, sys
names = ("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_DRIVER_MEMORY", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH")
print(json.dumps({{"args": sys.argv[1:], "cwd": os.getcwd(), **{{name: os.environ.get(name) for name in names}}}}))
"""


class House:
    """A copy of the project with stand-ins on PATH."""

    def __init__(self, scratch: Path) -> None:
        self.root, self.bin, self.log = scratch / "my project", scratch / "bin", scratch / "log"
        for folder in (self.root / "conf", self.root / "jobs", self.root / "recsys_spark", self.bin):
            folder.mkdir(parents=True)
        for name in ("spark-submit.sh", "conf/env.sh", "conf/ship.py"):
            shutil.copy2(ROOT / name, self.root / name)
        (self.root / "conf/requirements.lock").write_text("numpy==1\n")
        (self.root / "recsys_spark/__init__.py").write_text("")
        (self.root / "jobs/one.py").write_text('"""Do one thing."""\n')
        (self.root / "jobs/two.py").write_text('"""Do two things.\n\nAt once.\n"""\n')
        for tool in (*TOOLS, "basename"):
            os.symlink(shutil.which(tool), self.bin / tool)
        self.log.write_text("")
        self.java("17.0.9")
        self.python("python3", "3.11 whole")

    def program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def java(self, version: str, folder: Path | None = None) -> Path:
        text = f"#!{self.bin}/bash\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n"
        return self.program((folder or self.bin) / "java", text)

    def python(self, name: str, answer: str | None) -> Path:
        says = f'echo "{answer}"' if answer else "exit 127"
        values = {"bash": self.bin / "bash", "log": self.log, "python": sys.executable, "answer": says}
        return self.program(self.bin / name, PYTHON.format(**values, env=self.root / "conf/env.sh"))

    def environ(self, **env: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.root), **env}

    def installed(self) -> None:
        """Put a .venv there as a finished installation leaves it."""
        venv = self.root / ".venv"
        self.python("made", "3.11 whole").rename(self.program(venv / "bin/python", ""))
        self.spark()
        lock = (self.root / "conf/requirements.lock").read_bytes()
        crc = subprocess.run(["cksum"], input=lock, capture_output=True, check=True).stdout.decode().strip()
        (venv / ".installed").write_text(f"requirements.lock {crc}\n")

    def spark(self) -> None:
        home = self.root / ".venv/lib/python3.11/site-packages/pyspark"
        self.program(home / "bin/spark-submit", SUBMIT.format(python=sys.executable))

    def run(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "spark-submit.sh"), *args],
            cwd=cwd or self.root,
            env=self.environ(**env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def submitted(self, *args: str, cwd: Path | None = None, **env: str) -> dict:
        done = self.run(*args, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def calls(self, words: str) -> int:
        return sum(words in line for line in self.log.read_text().splitlines())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def ready(house: House) -> House:
    house.installed()
    return house


def refused(house: House, *words: str, **env: str) -> None:
    """The job is refused with one sentence on stderr, before anything is installed."""
    done = house.run("jobs/one.py", **env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (house.root / ".venv").exists()


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


def test_no_java(house):
    (house.bin / "java").unlink()
    refused(house, "No Java found: install Java 17 or 21", "apt-get install openjdk-17", "brew install", "JAVA_HOME")


def test_a_java_that_does_not_run(house):
    house.program(house.bin / "java", f"#!{house.bin}/bash\necho 'Unable to locate a Java Runtime.' >&2\nexit 1\n")
    refused(house, "No Java found (", "does not run)")


@pytest.mark.parametrize(
    ("version", "said"), [("11.0.2", "Java 11 ("), ("1.8.0_392", "Java 8 ("), ("16.0.1", "Java 16 (")]
)
def test_java_too_old(house, version, said):
    house.java(version)
    refused(house, said, "is too old for Spark 4.1: install Java 17 or 21")


@pytest.mark.parametrize("version", ["25", "22.0.1", "25-ea"])
def test_java_too_new(house, version):
    house.java(version)
    refused(house, f"Java {version[:2]} (", "is too new for Spark 4.1: install Java 17 or 21")


def test_a_java_that_says_no_version(house):
    house.program(house.bin / "java", f"#!{house.bin}/bash\necho hello\n")
    refused(house, "Cannot tell the version of", "install Java 17 or 21")


@pytest.mark.parametrize("version", ["17", "21.0.4"])
def test_java_that_fits(ready, version):
    ready.java(version)
    assert ready.submitted("jobs/one.py")["args"]


def test_java_home_counts_more_than_path(ready, tmp_path):
    home = tmp_path / "a jdk"
    ready.java("21.0.1", home / "bin")
    ready.java("11")
    assert ready.submitted("jobs/one.py", JAVA_HOME=str(home))["args"]
    shutil.rmtree(ready.root / ".venv")
    ready.java("11", home / "bin")
    ready.java("17")
    refused(ready, "Java 11 (", "is too old", JAVA_HOME=str(home))
    refused(ready, "which has no bin/java: install Java 17 or 21", JAVA_HOME=str(tmp_path / "nowhere"))


def test_no_python(house):
    (house.bin / "python3").unlink()
    refused(house, "No Python 3.10 to 3.13 found: install one", "apt-get install python3.11 python3.11-venv", "PYTHON=")


def test_only_unsuitable_pythons(house):
    house.python("python3", "3.9 whole")
    house.python("python3.13", None)  # a shim of a version manager that is not active
    refused(house, "No Python 3.10 to 3.13 found (python3 is 3.9): install one")
    house.python("python3", "3.14 whole")
    refused(house, "(python3 is 3.14)")


def test_python_without_the_venv_module(house):
    house.python("python3", "3.12 incomplete")
    refused(house, "Python 3.12 has no venv module: install it", "apt-get install python3.12-venv")


def test_a_suitable_python_is_looked_for_before_giving_up(house):
    house.python("python3", "3.9 whole")
    house.python("python3.13", "3.13 incomplete")
    house.python("python3.11", "3.11 whole")
    house.run("jobs/one.py")
    assert house.calls("python3.11 -m venv") == 1


def test_the_python_that_is_named_is_used_or_refused(house):
    named = house.python("my python", "3.10 whole")
    house.run("jobs/one.py", PYTHON=str(named))
    assert house.calls("my python -m venv") == 1
    shutil.rmtree(house.root / ".venv")
    named = house.python("my python", "3.8 whole")
    refused(house, "(", "my python is 3.8)", PYTHON=str(named))


def install(house: House, **env: str) -> subprocess.CompletedProcess[str]:
    house.spark()  # pip's share of the work
    return house.run("jobs/one.py", **env)


def test_the_first_use_installs_once_with_hashes_and_under_a_lock(house):
    first = install(house)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["args"][-1] == str(house.root / "jobs/one.py")
    (line,) = first.stderr.strip().splitlines()
    assert line.startswith("Installing the dependencies (requirements.lock) into .venv with python3; this happens once")
    assert (house.calls("-m venv"), house.calls("-m pip")) == (1, 1)
    second = install(house)
    assert (second.returncode, second.stderr) == (0, "")
    assert (house.calls("-m venv"), house.calls("-m pip")) == (1, 1)


def test_an_interrupted_installation_is_begun_anew(house):
    failed = install(house, PIP_EXIT="3")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Could not install the dependencies (see above): check the network" in failed.stderr
    assert not (house.root / ".venv/.installed").exists()
    assert install(house).returncode == 0
    assert (house.calls("-m venv --clear"), house.calls("-m pip")) == (2, 2)


def test_a_changed_lock_is_installed_into_the_same_environment(house):
    install(house)
    (house.root / "conf/requirements.lock").write_text("numpy==2\n")
    assert install(house).returncode == 0
    assert (house.calls("-m venv"), house.calls("-m pip")) == (1, 2)
    (house.root / "conf/requirements.lock").write_text("numpy==3\n")
    assert install(house, PIP_EXIT="1").returncode == 1
    assert not (house.root / ".venv/.installed").exists(), "half of one lock and half of another is none"


def test_who_waits_for_another_installation_uses_it(house, tmp_path):
    waiting = tmp_path / "waiting"
    os.mkfifo(waiting)
    with (house.root / "conf/env.sh").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [str(house.root / "spark-submit.sh"), "jobs/one.py"],
            env=house.environ(WAITING=str(waiting)),
            stdout=subprocess.PIPE,
            text=True,
        )
        waiting.read_text()  # returns when the script asks for the lock, having found nothing installed
        house.installed()
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["args"]
    assert house.calls("-m pip") == 0


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
    (tmp_path / "mine.py").write_text("")
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


def test_an_environment_without_spark_is_refused(ready):
    shutil.rmtree(ready.root / ".venv/lib")
    done = ready.run("jobs/one.py")
    assert done.returncode == 1
    assert "pyspark is missing in" in done.stderr
