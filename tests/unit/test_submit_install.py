"""spark-submit.sh with stand-ins: what it says about Java and Python, and how it installs .venv."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess

import pytest

from standins.house import House


def refused(house: House, *words: str, **env: str) -> None:
    """The job is refused with one sentence on stderr, before anything is installed."""
    done = house.run("jobs/one.py", **env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (house.root / ".venv").exists()


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


def test_an_environment_behind_a_link_is_left_alone(ready, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(ready.root / ".venv", elsewhere)
    (ready.root / ".venv").symlink_to(elsewhere)
    assert ready.submitted("jobs/one.py")["args"]
    for damage in ("other.lock 1 2", None):
        before = sorted(path.name for path in elsewhere.rglob("*"))
        (elsewhere / ".installed").write_text(damage) if damage else (elsewhere / ".installed").unlink()
        done = ready.run("jobs/one.py")
        assert (done.returncode, done.stdout) == (1, "")
        assert ".venv is a link to an environment that does not hold requirements.lock: remove the link" in done.stderr
        assert {path.name for path in elsewhere.rglob("*")} >= set(before) - {".installed"}


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
    assert json.loads(first.stdout)["args"][-1] == "jobs/one.py"
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
