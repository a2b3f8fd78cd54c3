"""A built wheel, installed in a fresh environment, imports and fits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FIT = """
import recsys_spark
from recsys_spark import BlockALS
from pyspark.sql import SparkSession

assert "site-packages" in recsys_spark.__file__, recsys_spark.__file__
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.driver.memory", "1g").config("spark.sql.shuffle.partitions", "1")
    .config("spark.driver.host", "127.0.0.1").getOrCreate()
)
rows = [(u, i, float(1 + (u * i) % 5)) for u in range(6) for i in range(5)]
ratings = spark.createDataFrame(rows, "user bigint, item bigint, rating float")
model = BlockALS(rank=2, maxIter=2).fit(ratings)
assert model.transform(ratings).count() == 30
print("fitted")
"""


def run(*command: object, cwd: Path, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel, which finds the other packages where the tests find them."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"  # setuptools leaves build/ and *.egg-info beside setup.py
    source.mkdir()
    shutil.copytree(ROOT / "recsys_spark", source / "recsys_spark", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", scratch / "dist", ".", cwd=source)
    (wheel,) = (scratch / "dist").glob("recsys_spark-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", scratch / "venv", cwd=scratch)
    (site,) = (scratch / "venv").glob("lib/python3.*/site-packages")
    run(sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-index", "--target", site, wheel, cwd=scratch)
    # Appended behind the environment's own packages, so that the wheel is found first.
    (site / "outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return scratch / "venv" / "bin" / "python"


def test_the_wheel_imports_without_spark_and_has_its_data(python, tmp_path):
    code = (
        "import sys, pathlib, recsys_spark, recsys_spark.kernels; assert 'pyspark' not in sys.modules;"
        "home = pathlib.Path(recsys_spark.__file__).parent; assert (home / 'py.typed').exists();"
        "from recsys_spark.config import Settings, conf_dir; assert conf_dir() is None; Settings();"
        "import importlib.metadata as m; assert m.version('recsys-spark') == recsys_spark.__version__; print(home)"
    )
    home = Path(run(python, "-c", code, cwd=tmp_path).strip())
    assert home.is_relative_to(python.parent.parent)
    here = {p.relative_to(ROOT / "recsys_spark").as_posix() for p in (ROOT / "recsys_spark").rglob("*.py")}
    assert {p.relative_to(home).as_posix() for p in home.rglob("*.py")} == here


def test_the_wheel_fits(python, tmp_path):
    out = run(python, "-c", FIT, cwd=tmp_path, PYSPARK_PYTHON=str(python), PYSPARK_DRIVER_PYTHON=str(python))
    assert out.strip().endswith("fitted")
