"""Where compiled kernels are kept: a directory of the user's that is named after the kernels' sources.

Numba notices a change of the file that a function stands in, but not of the functions it calls from other files: after
an upgrade it would go on running the old Gram inside the cached half-sweep. It also names its directories after the
path of the sources, which on a cluster is another one for every application (the package is shipped as a zip): each of
them would compile for most of a minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import CompileResultCacheImpl, _CacheLocator


class KernelsLocator(_CacheLocator):
    """Tells Numba to cache functions in our directory, from wherever their sources were loaded."""

    def __init__(self, function: Callable[..., Any], py_file: str, folder: Path) -> None:
        self._folder, self._line = folder, function.__code__.co_firstlineno
        self._py_file = py_file  # Numba names it in warnings

    def get_cache_path(self) -> str:
        """See Numba."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """What else would make a cached function stale: the directory is named after all sources already."""
        return self._folder.name

    def get_disambiguator(self) -> str:
        """Tells functions of one name in one file apart."""
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> KernelsLocator | None:
        """The locator, or None where no directory can be written: Numba then tries its own."""
        folder = writable_dir()
        return None if folder is None else cls(py_func, py_file, folder)


@contextlib.contextmanager
def kernels_cache() -> Iterator[None]:
    """Functions decorated inside are cached in :func:`writable_dir`."""
    CompileResultCacheImpl._locator_classes = [KernelsLocator, *CompileResultCacheImpl._locator_classes]
    try:
        yield
    finally:
        del CompileResultCacheImpl._locator_classes  # the base class has Numba's own list


def _is_ours(folder: Path) -> bool:
    """Whether the directory is this user's, and nobody else may write there."""
    found = folder.stat()
    mine = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return mine and os.access(folder, os.W_OK)


@cache
def writable_dir() -> Path | None:
    """The first of these that is the user's alone to write: :func:`cache_dir`, one among the temporary files
    (containers often have no home), else None.

    What is compiled is kept as pickles, which run as code when they are read.
    """
    for folder in (cache_dir(), Path(tempfile.gettempdir()) / f"recsys_spark-{os.getuid()}" / cache_dir().name):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _is_ours(folder) and (folder == cache_dir() or _is_ours(folder.parent)):
                return folder
    return None


@cache
def cache_dir() -> Path:
    """``kernels-<hash of their sources>`` in NUMBA_CACHE_DIR, if set, else in ``$XDG_CACHE_HOME/recsys_spark``."""
    sources = sorted(
        (f for f in resources.files("recsys_spark.kernels").iterdir() if f.name.endswith(".py")), key=lambda f: f.name
    )
    digest = hashlib.blake2b(b"".join(f.read_bytes() for f in sources), digest_size=8).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parent = Path(config.CACHE_DIR) if config.CACHE_DIR else Path(home) / "recsys_spark"
    return parent.absolute() / f"kernels-{digest}"
