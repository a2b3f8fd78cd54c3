"""Memory of process trees: a made-up /proc, and a real tree that allocates."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys_spark.benchmark import memory
from recsys_spark.benchmark.memory import PROC, Sample, Sampler, peak, process_tree, pss, require_proc
from recsys_spark.errors import EnvironmentProblem

linux = pytest.mark.skipif(not (PROC / "self" / "smaps_rollup").exists(), reason="needs Linux's /proc")


def make_proc(folder: Path, parents: dict[int, int], name: str = "java") -> Path:
    for pid, parent in parents.items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
        (folder / str(pid) / "smaps_rollup").write_text(
            f"55c-7ff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: {pid} kB\nPss_Anon: 7 kB\nSwapPss: 3 kB\n"
        )
    (folder / "uptime").write_text("1")
    return folder


@pytest.mark.parametrize("name", ["java", "a) S 1 (b", "python 3"])
def test_the_tree_holds_all_descendants_and_no_one_else(tmp_path, name):
    proc = make_proc(tmp_path, {5: 1, 9: 5, 7: 9, 8: 5, 6: 1}, name)
    assert process_tree(5, proc) == [5, 8, 9, 7]
    assert process_tree(4, proc) == []


def test_pss_is_in_bytes_and_that_of_the_dead_is_nothing(tmp_path):
    proc = make_proc(tmp_path, {1234: 1})
    assert pss(1234, proc) == 1234 * 1024
    assert pss(77, proc) == 0


def test_the_peak_is_that_of_the_spans():
    samples = [Sample(1, 50), Sample(2, 10), Sample(3, 20), Sample(4, 99), Sample(5, 15)]
    assert peak(samples, [(2, 3), (5, 6)]) == 20
    assert peak(samples, [(6, 7)]) == 0


def test_a_system_without_proc_is_refused_in_words(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"/proc/PID/smaps_rollup.*run it on Linux"):
        require_proc(tmp_path)


@linux
def test_a_grandchild_s_memory_counts():
    grandchild = "x = b'1' * (120 << 20); print('up', flush=True); input()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with Sampler(process.pid, 0.01) as sampler:
            process.stdout.readline()
            up = time.perf_counter()
            while not any(sample.at > up for sample in sampler.samples):
                time.sleep(0.01)
            seen = time.perf_counter()
    finally:
        process.communicate(b"\n")
    require_proc()
    assert 120 << 20 < peak(sampler.samples, [(up, seen)]) < 250 << 20
    assert pss(process.pid) == 0
    assert process_tree(os.getpid())[0] == os.getpid()


def test_samples_that_take_long_are_farther_apart(monkeypatch):
    """Reading what a large heap uses holds its process up."""
    paused: list[float] = []
    clock = itertools.count()
    monkeypatch.setattr(memory, "process_tree", lambda root: [root])
    monkeypatch.setattr(memory, "pss", lambda pid: 1 << 30)
    monkeypatch.setattr(memory.time, "thread_time", lambda: next(clock) / 4)
    sampler = Sampler(1, 0.3)
    sampler._done = SimpleNamespace(wait=lambda pause: paused.append(pause) or len(paused) > 2)
    sampler.run()
    assert paused == [0.3, 7.5, 7.5]
    assert [sample.bytes for sample in sampler.samples] == [1 << 30] * 2
