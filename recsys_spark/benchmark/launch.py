"""Starting a measured process and watching its memory; driver of the job, with no Spark of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
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
    """What a process found, and its memory.

    Attributes
    ----------
    peak : peak Σ PSS in bytes during the fits from Parquet of none, one and the most iterations: the same work for
        every contender
    between : median seconds between two samples
    seconds : from its start to its end
    """

    spec: Spec
    outcome: Outcome
    peak: int
    between: float
    seconds: float


class ContenderFailed(EnvironmentProblem):
    """A measured process failed, or took too long."""


def measure(spec: Spec, *, interval: float, kernels: str, timeout: float | None = None) -> Measured:
    """Run a contender in a process tree of its own and sample the tree's memory until it ends.

    Parameters
    ----------
    interval : seconds between samples
    kernels : directory of compiled kernels; an empty one makes the process compile them
    timeout : seconds after which the process is ended

    Raises
    ------
    ContenderFailed
        The process failed, said nothing or was ended; the message ends in the last lines of its log.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        began, late = time.perf_counter(), False
        told = ["--spec", spec.model_dump_json(), "--parent", str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_spark.benchmark.contender", *told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(spec, os.environ, kernels),
            start_new_session=True,
        )
        try:
            with Sampler(process.pid, interval) as sampler:
                out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            late, out = True, ""
        except BaseException:
            _end(process)
            raise
        log.seek(0)
        written = log.read()
    lines = out.strip().splitlines()
    if late or process.returncode or not lines:
        tail = "\n".join(written.strip().splitlines()[-_LAST:])
        how = f"was ended after {timeout:.0f} s" if late else f"ended with code {process.returncode}"
        raise ContenderFailed(
            f"the measured process of {spec.name} {how}; if memory was short, raise benchmark.driver_memory "
            f"({spec.driver_memory}). Its log ends:\n{tail}"
        )
    return _measured(spec, Outcome.model_validate_json(lines[-1]), sampler.samples, time.perf_counter() - began)


def _measured(spec: Spec, outcome: Outcome, samples: Sequence[Sample], seconds: float) -> Measured:
    alike = {0, 1, max(phase.order.max_iter for phase in outcome.phases)}
    spans = [(p.start, p.end) for p in outcome.phases if p.order.source == "parquet" and p.order.max_iter in alike]
    costs = [b.at - a.at for a, b in itertools.pairwise(samples)]
    return Measured(spec, outcome, peak(samples, spans), statistics.median(costs) if costs else 0.0, seconds)


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


def master(spec: Spec) -> str:
    """Local, or a cluster of executors on this machine."""
    if not spec.executors:
        return f"local[{spec.cores}]"
    return f"local-cluster[{spec.executors},{spec.cores},{mebibytes(spec.driver_memory)}]"


def mebibytes(memory: str) -> int:
    """Of a JVM's heap as Spark takes it: 512m, 4g."""
    return int(memory[:-1]) * (1024 if memory.endswith("g") else 1)


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
        "PYSPARK_SUBMIT_ARGS": f"--master {master(spec)} --driver-memory {spec.driver_memory} pyspark-shell",
        "NUMBA_CACHE_DIR": kernels,
    }
