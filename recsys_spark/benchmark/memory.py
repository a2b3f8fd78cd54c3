"""Memory of a process and all its descendants, read from Linux's /proc a few times a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recsys_spark.errors import EnvironmentProblem

PROC = Path("/proc")
_PAUSE = 30  # times the seconds of a core that a sample took; not those that it waited for one


class Sample(NamedTuple):
    """Σ PSS of the tree in bytes at a moment of the system's monotonic clock."""

    at: float
    bytes: int


def process_tree(root: int, proc: Path = PROC) -> list[int]:
    """The process and its descendants that are alive now, the root first; empty where it is gone."""
    parents = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            parents[int(entry.name)] = parent
    found = [root] if root in parents else []
    for pid in found:  # grows as it is walked
        found += sorted(child for child, parent in parents.items() if parent == pid)
    return found


def pss(pid: int, proc: Path = PROC) -> int:
    """Proportional set size of a process in bytes: pages that n processes share count 1/n each. 0 where it is gone."""
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def peak(samples: Iterable[Sample], spans: Iterable[tuple[float, float]]) -> int:
    """The largest sample within any of the spans (start, end), in bytes; 0 where none fell into them."""
    wanted = list(spans)
    return max((s.bytes for s in samples if any(start <= s.at <= end for start, end in wanted)), default=0)


def require_proc(proc: Path = PROC) -> None:
    """Raise EnvironmentProblem where the system does not tell what processes use."""
    if not (proc / str(os.getpid()) / "smaps_rollup").is_file():
        raise EnvironmentProblem(
            "the benchmark reads the memory of processes from /proc/PID/smaps_rollup, which this system does not have: "
            "run it on Linux 4.14 or later"
        )


class Sampler(threading.Thread):
    """Samples a process tree until stopped; a context manager.

    Parameters
    ----------
    root : pid of the tree's root
    interval : least seconds between samples; they are farther apart where a sample takes long, so that looking takes
        a thirtieth of a core at most: a gigabyte of heap takes 15 ms, in which the process may have to wait
    """

    def __init__(self, root: int, interval: float) -> None:
        super().__init__(name=f"memory of {root}", daemon=True)
        self.samples: list[Sample] = []
        self._root, self._interval, self._done = root, interval, threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        pause = self._interval
        while not self._done.wait(pause):
            at, spent = time.perf_counter(), time.thread_time()
            self.samples.append(Sample(at, sum(pss(pid) for pid in process_tree(self._root))))
            pause = max(self._interval, _PAUSE * (time.thread_time() - spent))

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def _parent(entry: Path) -> int | None:
    """Parent's pid, from the second field after the name, which may itself hold blanks and parentheses."""
    try:
        return int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None
