"""Jobs on a standalone cluster whose executors know nothing of this checkout: whole, and while things break.

One cluster, one release and one undisturbed pipeline serve all tests; each fault starts from a copy of its lake.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest

from cluster.standalone import ROOT, SPARK_HOME, Job, Node, Standalone, wait_for
from fit_bits import bits
from ingest_factory import rating_lines, write_csv
from recsys_spark.als.model_io import load_model

WHERE = '''"""Where executors find things."""
import json, os, sys
from pathlib import Path
from recsys_spark.cli import JobResult, run_job

def where(_):
    import numpy, recsys_spark
    yield {
        "package": recsys_spark.__file__, "numpy": numpy.__file__, "python": sys.executable, "cwd": os.getcwd(),
        "path": sys.path, "environment": dict(os.environ),
    }

def step(spark, settings, args):
    found = spark.sparkContext.parallelize(range(8), 8).mapPartitions(where).collect()
    Path("where.json").write_text(json.dumps(found))
    return JobResult()

sys.exit(run_job("where", step, description=""))
'''
KILLED = '''"""The job split, on a machine that stops at a given point of publishing."""
import os, signal, sys
from recsys_spark import lake
from recsys_spark.cli import run_job
from recsys_spark.ingest.split_job import run
from recsys_spark.lake import fs
from recsys_spark.lake.manifest import POINTER

def stop(*_, **__):
    os.killpg(0, signal.SIGKILL)

def swapped(spark, path, text):
    os.fsync = stop if path.endswith(POINTER) else fsync
    write_text(spark, path, text)

point, commit, write_text, fsync = sys.argv.pop(1), fs.commit_dir, fs.write_text, os.fsync
if point == "before the rename":
    fs.commit_dir = stop
elif point == "after the rename":
    fs.commit_dir = lambda *given, **named: (commit(*given, **named), stop())
elif point == "within the pointer's swap":
    fs.write_text = swapped
sys.exit(run_job("split", run, description=""))
'''
ITERATIONS = 12
SETTINGS = [
    *("train.rank=4", f"train.max_iter={ITERATIONS}", "train.stop.patience=99", "train.stop.tol=0", "blocks.users=3"),
    *("blocks.items=3", "fit.execution=stages", "evaluate.baselines=[biases]", "evaluate.ranking.k=5"),
    "score.run_date=2026-01-31",
]
LOCAL = ("--master", "local[2,4]")
INSTALLED = {"PYSPARK_PYTHON": sys.executable}
SMALL_DISK = [
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=64m t {disk} && exec "$@"',
    "sh",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Two nodes."""
    cluster = Standalone(tmp_path_factory.mktemp("standalone"))
    try:
        cluster.add_node()
        cluster.add_node()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 ratings of 50 films by 60 users."""
    return write_csv(tmp_path_factory.mktemp("release") / "tiny", rating_lines(3000, users=60))


def told(lake: Path, release: Path, *settings: str) -> list[str]:
    """Arguments of a job: places as URIs, and the settings of all tests."""
    store = [f"tracking.uri=sqlite:///{lake.parent}/mlflow.db"]
    chosen = [word for setting in [*SETTINGS, *store, *settings] for word in ("--set", setting)]
    return ["--dataset", f"file:{release}", "--workdir", f"file:{lake}", *chosen]


@pytest.fixture(scope="module")
def pipeline(cluster: Standalone, release: Path) -> dict[str, Any]:
    """The pipeline's last line, with the lake that it made; the environment was shipped."""
    lake = cluster.folder / "lake"
    return {**cluster.start("jobs/pipeline.py", *told(lake, release)).succeeded(), "lake": lake}


@pytest.fixture
def untrained(pipeline: dict[str, Any], cluster: Standalone, tmp_path: Path) -> Path:
    """A lake with everything that a training needs."""
    shutil.copytree(pipeline["lake"], tmp_path / "lake")
    shutil.rmtree(tmp_path / "lake/tiny/train")
    shutil.copy2(cluster.folder / "mlflow.db", tmp_path / "mlflow.db")
    return tmp_path / "lake"


def model_bits(line: dict[str, Any]) -> Any:
    return bits(load_model(f"{line['outputs']['model'].removeprefix('file:')}/fitted"))


def test_executors_run_what_they_were_sent_and_nothing_else(cluster: Standalone, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(WHERE)
    job = cluster.start(str(tmp_path / "where.py"))
    job.succeeded()
    found = json.loads((job.folder / "where.json").read_text())
    for one in found:
        assert Path(one["cwd"]).is_relative_to(cluster.folder)
        assert one["package"].startswith("./recsys_spark-"), "the zip that was shipped"
        assert one["package"].endswith(".zip/recsys_spark/__init__.py")
        assert one["python"].startswith(f"{one['cwd']}/environment/bin/"), "the archive that was shipped"
        assert one["numpy"].startswith(f"{one['cwd']}/environment/lib/")
        drivers = (str(ROOT), str(job.folder), str(tmp_path))
        # The nodes' own Spark is pyspark's, which happens to lie in this checkout's environment.
        paths = [path for path in one["path"] if not path.startswith(str(SPARK_HOME))]
        assert not [path for path in [*paths, one["environment"].get("PWD", "")] if path.startswith(drivers)]
    assert len({one["cwd"] for one in found}) == 2, "both nodes worked"


def test_the_pipeline_runs_with_uris(pipeline: dict[str, Any]) -> None:
    outputs, lake = pipeline["outputs"], pipeline["lake"]
    assert pipeline["metrics"]["train_iterations"] == ITERATIONS
    assert outputs["model"].startswith(f"file:{lake}/tiny/train/")
    top = pq.read_table(outputs["recommendations"].removeprefix("file:"))
    assert set(top["user"].to_pylist()) == set(range(1, 61))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{lake.parent}/mlflow.db")
    assert client.get_run(outputs["run_id"]).info.status == "FINISHED"


def test_a_driver_that_dies_in_mid_fit_goes_on_from_its_checkpoint(
    pipeline: dict[str, Any], untrained: Path, release: Path, tmp_path: Path
) -> None:
    arguments = ["jobs/train.py", *told(untrained, release, "fit.checkpoint_every=2")]
    job = Job(tmp_path, *LOCAL, *arguments)

    def fourth() -> bool:
        latest = list((untrained / "tiny").glob("checkpoints/*/_LATEST"))
        return bool(latest) and latest[0].read_text() >= "iteration-00004"

    wait_for(fourth, "the checkpoint of iteration 4", job.process)
    job.kill()
    assert not list((untrained / "tiny/train").glob("_CURRENT")), "nothing half-trained is published"
    again = Job(tmp_path, *LOCAL, *arguments)
    line = again.succeeded()
    (after,) = re.findall(r"resuming after iteration (\d+) from file:", again.stderr)
    assert 4 <= int(after) < ITERATIONS
    assert model_bits(line) == model_bits(pipeline)
    assert not list((untrained / "tiny").glob("checkpoints/*/*"))


@pytest.mark.slow  # every point of publishing is died at in tests/spark/test_lake_kill.py
def test_a_driver_that_dies_in_mid_publish_leaves_what_was_there(
    pipeline: dict[str, Any], untrained: Path, release: Path, tmp_path: Path
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    root = untrained / "tiny/splits/folds"
    (before,) = untrained.rglob("split*/**/_CURRENT") if not root.exists() else [root / "_CURRENT"]
    current = before.read_text()
    arguments = told(untrained, release, "split.seed=8")
    for point in ("before the rename", "after the rename", "within the pointer's swap"):
        job = Job(tmp_path, *LOCAL, str(tmp_path / "killed.py"), point, *arguments)
        assert job.process.wait(timeout=120) == -9, job.stderr
        assert before.read_text() == current, f"killed {point}, readers see the version that was there"
    line = Job(tmp_path, *LOCAL, "jobs/split.py", *arguments).succeeded()
    assert before.read_text() != current
    version = before.parent / before.read_text().strip()
    (table,) = [Path(path.removeprefix("file:")) for path in line["outputs"].values() if "ratings" in path]
    assert table.is_relative_to(version)
    assert pq.read_table(table).num_rows == 3000


@pytest.mark.slow  # workers and an executor die in mid-fit in test_fit_cluster.py
def test_a_node_that_stops_in_mid_fit(
    pipeline: dict[str, Any], cluster: Standalone, untrained: Path, release: Path
) -> None:
    job = cluster.start("jobs/train.py", *told(untrained, release), **INSTALLED)
    job.says(f"iteration  3/{ITERATIONS}")
    cluster.nodes[1].kill()
    line = job.succeeded()
    assert re.search(r"Lost executor \d+ on 127\.0\.0\.2", job.stderr)
    assert model_bits(line) == model_bits(pipeline)


def fill(node: Node, disk: Path) -> Path:
    """Wait for an executor on a node with a small disk, and fill that disk; returns the file to remove."""
    inside = Path(f"/proc/{node.process.pid}/root{disk}")
    wait_for(lambda: list(inside.glob("work/*/*/recsys_spark-*.zip")), "an executor with the package", node.process)
    ballast = inside / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return ballast


@pytest.mark.skipif(
    subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="no user may mount a small disk here",
)
@pytest.mark.slow
def test_disks_of_executors_that_are_full(
    pipeline: dict[str, Any], cluster: Standalone, untrained: Path, release: Path
) -> None:
    small = cluster.add_node(SMALL_DISK)
    disk = cluster.folder / f"disk{len(cluster.nodes)}"
    arguments = ["jobs/train.py", *told(untrained, release)]

    job = cluster.start(*arguments, **INSTALLED)
    ballast = fill(small, disk)
    line = job.succeeded()
    assert model_bits(line) == model_bits(pipeline), "another node did the work"
    assert "No space left on device" in job.stderr

    shutil.rmtree(untrained / "tiny/train")
    for node in cluster.nodes[:-1]:
        node.kill()
    ballast.unlink()
    shutil.rmtree(disk / "work", ignore_errors=True)
    job = cluster.start(*arguments, **INSTALLED)
    ballast = fill(small, disk)
    line = job.ended()
    assert (line["status"], line["code"]) == ("failed", 1)
    # Executors that cannot even start are named by nobody: Spark's master ends the application after some of them.
    named = "the disk of executors on 127.0.0.3 is full (No space left on device" in line["error"]
    assert named or "the cluster ended the application" in line["error"]
    assert "run the same command again" in line["error"]
    ballast.unlink()
    assert model_bits(cluster.start(*arguments, **INSTALLED).succeeded()) == model_bits(pipeline)
