"""Where compiled kernels are kept: a directory of the user's that is named after the kernels' sources.

Numba notices a change of the file that a function stands in, but not of the functions it calls from other files: after
an upgrade it would go on running the old Gram inside the cached half-sweep. And beside an installed package it often
may not write at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from numba import config


@contextlib.contextmanager
def kernels_cache() -> Iterator[None]:
    """Functions decorated inside are cached there; NUMBA_CACHE_DIR, where set, is respected.

    Where the directory cannot be written, or others might have written there, Numba chooses as it does without us: its
    files are pickles, which run as code when they are read.
    """
    before = config.CACHE_DIR
    folder = cache_dir()
    with contextlib.suppress(OSError):
        if not before:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _is_ours(folder):
                config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _is_ours(folder: Path) -> bool:
    """Whether the directory is this user's, and nobody else may write there."""
    found = folder.stat()
    mine = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return mine and os.access(folder, os.W_OK)


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/recsys_spark/kernels-<hash of their sources>``."""
    sources = sorted(
        (f for f in resources.files("recsys_spark.kernels").iterdir() if f.name.endswith(".py")), key=lambda f: f.name
    )
    digest = hashlib.blake2b(b"".join(f.read_bytes() for f in sources), digest_size=8).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "recsys_spark" / f"kernels-{digest}"
