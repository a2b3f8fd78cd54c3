"""Which processor a row is solved on changes no bit of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from recsys_spark.kernels import gram, machine
from recsys_spark.kernels.rows import F32, NO_F32, Csr, Other, pad
from recsys_spark.kernels.scratch import Scratch, lanes_for, scratch_for

ROOT = Path(__file__).resolve().parents[2]
# Solves rows of 1 to 600 ratings at rank 10 by the vectors of this machine, or by the others ("other").
SCRIPT = """
import hashlib, importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("recsys_spark.kernels.machine", sys.argv[1])
machine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(machine)
if sys.argv[2] == "other":
    machine.WIDE, machine.LANES = not machine.WIDE, 24 - machine.LANES
sys.modules[spec.name] = machine
from recsys_spark.kernels import projection
from recsys_spark.kernels.rows import NO_F32, Csr, Other, Prior, Reg, pad
from recsys_spark.kernels.sweep import Bias, half_sweep
rng = np.random.default_rng(3)
lengths = np.r_[600, rng.integers(1, 90, 60)]
indptr = np.r_[0, np.cumsum(lengths)].astype(np.int64)
cols = np.concatenate([np.sort(rng.choice(700, n, replace=False)) for n in lengths]).astype(np.int32)
rows = Csr(indptr, cols, (rng.integers(1, 11, len(cols)) / 2).astype(np.float32), NO_F32)
other = Other(pad(rng.normal(0, 0.4, (700, 10)).astype(np.float32)), rng.normal(0, 0.4, 700).astype(np.float32))
x = Csr(np.arange(62, dtype=np.int64), np.arange(61, dtype=np.int32) % 3, np.ones(61, np.float32), NO_F32)
prior, reg, bias = Prior(x, rng.normal(0, 0.2, (3, 11))), Reg(rng.uniform(1, 5, 61), 2.0), Bias(3.4, True, NO_F32)
found = half_sweep(rows, other, prior, reg, bias, 10, 2.0**30)
sums = projection.projection_sums(
    rows, prior, other, reg, 3.4, True, NO_F32, 10, projection.Scales(2.0**30, 2.0**30)
)
parts = [found[0], found[1], sums.normal, sums.right]
print(machine.WIDE, hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def solved(which: str, cache: Path) -> tuple[str, str]:
    """Whether vectors were wide, and a hash of what was computed."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | ({"NUMBA_CACHE_DIR": str(cache)} if which == "other" else {})
    command = [sys.executable, "-c", SCRIPT, machine.__file__, which]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    wide, digest = done.stdout.split()
    return wide, digest


@pytest.mark.parametrize(
    ("text", "wide"), [("+avx2,+avx512f", True), ("+avx2,-avx512f", False), ("", False), ("+avx512fp16", False)]
)
def test_the_vectors_are_those_that_numba_compiles_for(monkeypatch: pytest.MonkeyPatch, text: str, wide: bool) -> None:
    monkeypatch.setattr("numba.config.CPU_FEATURES", text)
    assert machine.has("avx512f") == wide


@njit
def in_wide_tiles(n: int, rows: Csr, other: Other, lanes: tuple[int, ...], s: Scratch) -> None:
    gram.accumulate_wide(n, True, s.buf, s.grams[0], rows, other, 0, gram.ONE, lanes, s)


@njit
def in_narrow_tiles(n: int, rows: Csr, other: Other, lanes: tuple[int, ...], s: Scratch) -> None:
    gram.accumulate_narrow(n, True, s.buf, s.grams[1], rows, other, 0, gram.ONE, lanes, s)


def with_border(matrix: F32, width: int) -> F32:
    """What is defined of sums: the upper triangle, and below it the two rows of the border."""
    return np.vstack([np.triu(matrix[:width, :width]), matrix[width : width + 2, :width]])


@pytest.mark.parametrize("width", [16, 32, 48, 64])  # wide panels with a piece left over, and without
def test_tiles_of_either_size_add_up_the_same_sums(width: int) -> None:
    rng = np.random.default_rng(4)
    n, lanes, s = 53, lanes_for(width), scratch_for(width)
    factors = rng.normal(0, 0.5, (90, width)).astype(np.float32)
    cols = np.sort(rng.choice(90, n, replace=False)).astype(np.int32)
    rows = Csr(np.array([0, n]), cols, rng.random(n, np.float32), NO_F32)
    pulls = rng.normal(0, 1, (n, 2)).astype(np.float32)
    s.buf[:n, width : width + 2] = pulls
    for tiles in (in_wide_tiles, in_narrow_tiles):
        tiles(n, rows, Other(pad(factors), np.zeros(90, np.float32)), lanes, s)
    wide, narrow = (with_border(s.grams[place], width) for place in range(2))
    assert wide.tobytes() == narrow.tobytes()
    exact = factors[cols].astype(float)
    np.testing.assert_allclose(narrow, np.vstack([np.triu(exact.T @ exact), pulls.T @ exact]), atol=1e-4)


def test_wide_and_narrow_vectors_give_the_same_bits(tmp_path: Path) -> None:
    ours, others = (solved(which, tmp_path) for which in ("this", "other"))
    assert ours[0] != others[0]
    assert ours[1] == others[1]
