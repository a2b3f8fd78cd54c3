"""Starting a measured process and watching its memory; driver of the job, with no Spark of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import recsys_spark
from recsys_spark.benchmark.memory import Sample, Sampler, peak
from recsys_spark.benchmark.spec import Outcome, Spec
from recsys_spark.errors import EnvironmentProblem

_GRACE = 10  # seconds to end in
_LAST = 15  # lines of a failed process's log that its error repeats


@dataclass(frozen=True)
class Measured:
    """What a process found, and its memory."""

    spec: Spec
    outcome: Outcome
    samples: Sequence[Sample]

    @property
    def peak(self) -> int:
        """Peak Σ PSS in bytes during the timed fits of Parquet: the same work for every contender."""
        return peak(self.samples, [(p.start, p.end) for p in self.outcome.phases if p.source == "parquet"])


def measure(spec: Spec, *, interval: float, kernels: str) -> Measured:
    """Run a contender in a process tree of its own and sample the tree's memory until it ends.

    Parameters
    ----------
    interval : seconds between samples
    kernels : directory of compiled kernels; an empty one makes the process compile them

    Raises
    ------
    EnvironmentProblem
        The process failed or said nothing; the message ends in the last lines of its log.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_spark.benchmark.contender", "--spec", spec.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(spec, os.environ, kernels),
            start_new_session=True,
        )
        try:
            with Sampler(process.pid, interval) as sampler:
                out, _ = process.communicate()
        except BaseException:
            _end(process)
            raise
        log.seek(0)
        written = log.read()
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        tail = "\n".join(written.strip().splitlines()[-_LAST:])
        raise EnvironmentProblem(
            f"the measured process of {spec.contender} ended with code {process.returncode}; if memory was short, "
            f"raise benchmark.driver_memory ({spec.driver_memory}). Its log ends:\n{tail}"
        )
    return Measured(spec, Outcome.model_validate_json(lines[-1]), sampler.samples)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and its JVM, which removes its files when asked to end, and not when killed."""
    until = time.monotonic() + _GRACE
    with contextlib.suppress(ProcessLookupError):  # the group is empty
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.poll()
            time.sleep(0.05)
            os.killpg(process.pid, 0)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(spec: Spec, inherited: Mapping[str, str], kernels: str) -> dict[str, str]:
    """Environment of a measured process: local master, memory, this Python, one directory of compiled kernels."""
    package = str(Path(recsys_spark.__file__).resolve().parents[1])
    paths = [package, *filter(None, [inherited.get("PYTHONPATH")])]
    dropped = {"SPARK_DRIVER_MEMORY", "SPARK_REMOTE", "MASTER", "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"}
    kept = {name: value for name, value in inherited.items() if name not in dropped}
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"--master local[{spec.cores}] --driver-memory {spec.driver_memory} pyspark-shell",
        "NUMBA_CACHE_DIR": kernels,
    }
