"""Spark's Python daemon with the engine imported before it forks: workers are born with it, and share its pages.

Spark runs ``python -m recsys_spark.daemon`` on executors where `spark.python.daemon.module` says so (`session`).
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from socket import socket


def preload() -> None:
    """Import what tasks import, and load the compiled kernels that build blocks."""
    import numpy as np
    import pyarrow as pa

    import_module("recsys_spark.als.stages")  # all that tasks of a fit are made of
    import_module("recsys_spark.blocks.encoded")  # likewise, of the ratings' first pass
    from recsys_spark.blocks.chunks import Tally, chunks_of
    from recsys_spark.blocks.grouped import Grouped, to_csr
    from recsys_spark.blocks.layout import Entries
    from recsys_spark.kernels.bucket import counting_order

    one = pa.array([1], pa.int32())
    ratings = pa.table({"user": one, "item": one, "rating": pa.array([1.0], pa.float32()), "held_out": [False]})
    list(chunks_of(ratings, (Tally(), Tally())))
    counting_order(np.zeros(1, np.int32), 1)
    two = Grouped.of(Entries.of([0, 0], [1, 0], [1.0, 1.0]))
    to_csr([two, two._replace(cols=two.rows[[0, 0]], across=True)], 0, 1)


def hang_up_quietly() -> None:
    """End a worker without a traceback where Spark has closed its socket, as it does when one was idle for a minute."""
    from pyspark import daemon

    serve = daemon.worker

    def worker(sock: socket, authenticated: bool) -> int:
        try:
            return int(serve(sock, authenticated))
        except BrokenPipeError:
            return 1

    daemon.worker = worker


if __name__ == "__main__":
    from pyspark.daemon import manager

    from recsys_spark.worker import keep_loaded, quicken

    quicken()  # the package was imported before this module was known as the main one
    with contextlib.suppress(ImportError):  # a task that needs what is missing says so, in words that the driver knows
        preload()
    hang_up_quietly()
    keep_loaded("daemon")  # what every worker is born with
    manager()
