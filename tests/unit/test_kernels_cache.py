"""Where compiled kernels are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from numba import config
import recsys_spark.kernels.sweep
from recsys_spark.kernels.sweep import sum_by_row
from recsys_spark.kernels.rows import empty_csr
print(sum_by_row(empty_csr(2), 1.0), repr(config.CACHE_DIR))
"""


def run(**env: str) -> str:
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
    assert run(XDG_CACHE_HOME=str(tmp_path)) == "(0, 0) ''"
    assert cached(folder) == []


def test_an_unusable_home_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert run(XDG_CACHE_HOME=str(tmp_path / "file")) == "(0, 0) ''"
