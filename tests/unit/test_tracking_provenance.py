"""What a run says about code and machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recsys_spark import __version__
from recsys_spark.tracking.provenance import git_commit, machine, provenance, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit that holds a package."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    return package.resolve()


def test_a_checkout_names_its_commit_and_whether_tracked_files_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == {"git.commit": commit, "git.dirty": "false"}
    (checkout / "notes.txt").write_text("untracked files change nothing")
    assert git_commit(checkout)["git.dirty"] == "false"
    (checkout / "__init__.py").write_text("changed = True\n")
    assert git_commit(checkout) == {"git.commit": commit, "git.dirty": "true"}


def test_a_package_installed_inside_somebody_s_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout / "lib" / "site-packages" / "recsys_spark"
    installed.mkdir(parents=True)
    assert git_commit(installed) == {}


def test_without_a_repository_a_commit_or_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path.resolve() / "repository" / "package"
    package.mkdir(parents=True)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve()))
    assert git_commit(package) == {}
    if shutil.which("git"):
        git(package.parent, "init", "-q")
        assert git_commit(package) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(package) == {}


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["version.recsys_spark"] == __version__
    assert found["version.python"] == platform.python_version()
    assert found["version.numpy"] == np.__version__
    assert "version.java" not in found


def test_a_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_spark.tracking.provenance.PACKAGES", ("no-such-package",))
    assert versions()["version.no-such-package"] == "none"


def test_all_tags_are_filled_text() -> None:
    tags = provenance()
    assert int(tags["machine.cores"]) >= 1
    assert machine().items() <= tags.items()
    assert all(isinstance(text, str) and text for text in tags.values())
