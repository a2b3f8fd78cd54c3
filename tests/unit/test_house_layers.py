"""The one-way order of the packages, and what each may know; read from the sources, not by importing them."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "recsys_spark"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A layer may import those before it; names are modules or packages, the longest match counts.
ORDER = [
    {"errors", "schema", "als.settings", "worker", "redact"},
    {"features.columns", "pages"},
    {"kernels"},
    {"lake", "config"},
    {"session"},
    {"cli"},
    {"generate"},
    {"ingest"},
    {"features"},
    {"blocks"},
    {"als"},
    {"frames"},
    {"score.finder", "score.topn"},
    {"daemon"},
    {"ml"},
    {"evaluate"},
    {"score"},
    {"tracking"},
    {"summary"},
    {"explore"},
    {"experiment"},
    {"retrain"},
    {"tuning"},
    {"ablation", "benchmark"},
    {"study"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

# Package -> all of ours that it may import.
ONLY = {"kernels": {"errors", "kernels"}, "errors": set(), "schema": set()}

# Packages whose modules, but for their job, know arguments and results and no configuration.
ENGINE = {"kernels", "blocks", "als", "ml"}
CONFIGURATION = {"config", "cli"}

# What the package itself offers.
PUBLIC = {"__version__", "BlockALS", "BlockALSModel"}

FORBIDDEN = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "torch"}

# Modules that import without pyspark.
SPARKLESS = [
    "kernels",
    "als.settings",
    "als.model",
    "features.columns",
    "errors",
    "schema",
    "config",
    "cli",
    "session",
    "lake",
]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Absolute names of all that a file imports, at any depth, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    return {name.removeprefix("recsys_spark.") for name in imported(path) if name.startswith("recsys_spark.")}


def layer(name: str) -> str | None:
    parts = name.split(".")
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in RANK), None)


def test_imports_go_one_way():
    wrong = []
    for path in MODULES:
        name = name_of(path)
        here = layer(name)
        if not name:
            continue  # the package itself resolves the estimator lazily
        if here is None:
            wrong.append(f"{name} is in no layer: add it to ORDER")
            continue
        for other in sorted(ours(path) - PUBLIC):
            there = layer(other)
            if there is None:
                wrong.append(f"{name} imports {other}, which is in no layer")
            elif there.split(".")[0] != here.split(".")[0] and RANK[there] >= RANK[here]:
                wrong.append(f"{name} imports {other}: {there} does not come before {here}")
    assert wrong == []


def test_low_layers_know_only_what_they_may():
    found = {path: {other.split(".")[0] for other in ours(path)} for path in MODULES}
    tops = {path: name_of(path).split(".")[0] for path in MODULES}
    assert [f"{tops[p]}: {f - ONLY[tops[p]]}" for p, f in found.items() if tops[p] in ONLY and f - ONLY[tops[p]]] == []


def test_only_jobs_know_configuration():
    engine = [path for path in MODULES if name_of(path).split(".")[0] in ENGINE and "job" not in path.stem]
    assert engine
    assert [(name_of(p), o) for p in engine for o in ours(p) if o.split(".")[0] in CONFIGURATION] == []


def test_only_tracking_imports_mlflow():
    others = [path for path in MODULES if name_of(path).split(".")[0] != "tracking"]
    assert [name_of(p) for p in others if any(name.split(".")[0] == "mlflow" for name in imported(p))] == []


def test_forbidden_tools_are_not_imported():
    assert [name_of(p) for p in MODULES if {name.split(".")[0] for name in imported(p)} & FORBIDDEN] == []


def test_files_hold_one_idea():
    files = [path for folder in ("recsys_spark", "jobs", "tests", "conf") for path in (ROOT / folder).rglob("*.py")]
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: n for name, n in lines.items() if n > 350} == {}


def test_importing_what_needs_no_spark_does_not_load_it():
    code = """
import importlib, json, pkgutil, sys
import recsys_spark
names = json.loads(sys.argv[1])
for name in names:
    module = importlib.import_module(f"recsys_spark.{name}")
    for inner in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if not inner.name.startswith("__"):
            importlib.import_module(f"recsys_spark.{name}.{inner.name}")
    assert "pyspark" not in sys.modules, name
"""
    present = [name for name in SPARKLESS if importlib.util.find_spec(f"recsys_spark.{name}") is not None]
    assert "kernels" in present
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(present)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_attribute_of_the_package_is_an_attribute_error():
    import recsys_spark

    with pytest.raises(AttributeError, match="'recsys_spark' has no attribute 'BlockAsl'"):
        _ = recsys_spark.BlockAsl


JOBS = sorted((ROOT / "jobs").glob("*.py"))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_no_job_is_named_like_a_library(job):
    # jobs/ is first on sys.path under spark-submit: jobs/mlflow.py would be everyone's mlflow.
    assert job.stem not in sys.stdlib_module_names
    spec = importlib.util.find_spec(job.stem)
    assert spec is None or spec.origin in {None, str(job)}, f"{job.name} hides {spec and spec.origin}"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_jobs_are_thin_and_described(job):
    source = job.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert len(source.splitlines()) <= 25
    assert docstring.splitlines(), "its first line is what spark-submit.sh --help shows"
    assert source.startswith(f'"""{docstring.splitlines()[0]}')


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "conf" / lock).read_text(encoding="utf-8").splitlines()
    return {line.split(" \\")[0].split("==")[0]: line for line in lines if line and line[0].isalnum()}


def test_the_dev_lock_holds_all_of_the_runtime_lock():
    # tests/run.sh stamps .venv with both locks after installing the larger one.
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.keys() <= dev.keys()
    version = {name: line.split(" ;")[0].split(" \\")[0] for name, line in dev.items()}
    assert {n: line.split(" ;")[0].split(" \\")[0] for n, line in runtime.items()} == {n: version[n] for n in runtime}
