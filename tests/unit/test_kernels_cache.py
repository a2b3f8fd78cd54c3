"""Where compiled kernels are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from numba import config
import recsys_spark.kernels.sweep
from recsys_spark.kernels.sweep import sum_by_row
from recsys_spark.kernels.rows import empty_csr
print(sum_by_row(empty_csr(2), 1.0), repr(config.CACHE_DIR))
"""


def run(**env: str) -> str:
    """Run the script with an empty environment; `env` is added."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=base | env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cached(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.rglob("*.nbi"))


def test_the_users_cache_is_used_and_named_after_the_sources(tmp_path: Path) -> None:
    assert run(XDG_CACHE_HOME=str(tmp_path)) == "(0, 0) ''", "other Numba users' setting is as before"
    (folder,) = (tmp_path / "recsys_spark").iterdir()
    assert folder.name.startswith("kernels-")
    assert any("_sum_by_row" in name for name in cached(folder))


def test_numbas_own_setting_is_respected(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert run(XDG_CACHE_HOME=str(tmp_path / "xdg"), NUMBA_CACHE_DIR=str(own)) == f"(0, 0) {str(own)!r}"
    assert cached(own)
    assert not (tmp_path / "xdg").exists()


def test_a_folder_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    run(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "recsys_spark").iterdir()
    for file in cached(folder):
        next(folder.rglob(file)).unlink()
    folder.chmod(0o777)
    (tmp_path / "tmp").mkdir()
    assert run(XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path / "tmp")) == "(0, 0) ''"
    assert cached(folder) == []


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as executors get it."""
    target = tmp_path_factory.mktemp("zip") / "recsys_spark.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in (ROOT / "recsys_spark").rglob("*.py"):
            archive.write(file, file.relative_to(ROOT))
    return target


def test_a_zip_at_any_path_uses_what_another_has_compiled(tmp_path: Path, zipped: Path) -> None:
    run(XDG_CACHE_HOME=str(tmp_path / "cache"))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.nb?")}
    assert run(XDG_CACHE_HOME=str(tmp_path / "cache"), PYTHONPATH=str(zipped), HOME=str(tmp_path)) == "(0, 0) ''"
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nb?")} == before


@pytest.mark.parametrize("how", ["checkout", "zip"])
def test_without_a_home_the_temporary_files_take_it(tmp_path: Path, zipped: Path, how: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    path = str(zipped) if how == "zip" else str(ROOT)
    (tmp_path / "tmp").mkdir()
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path / "tmp"), PYTHONPATH=path) == "(0, 0) ''"
    (folder,) = (tmp_path / "tmp").glob("recsys_spark-*/kernels-*")
    assert any("_sum_by_row" in name for name in cached(folder))


def test_compiled_code_is_not_taken_from_a_directory_that_others_may_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    theirs = tmp_path / "tmp" / f"recsys_spark-{os.getuid()}"
    theirs.mkdir(parents=True)
    theirs.chmod(0o777)
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path / "tmp")) == "(0, 0) ''"
    assert not cached(theirs)
