"""MLflow without its prints on stdout (a job's last line there is its result), chatter and telemetry."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

# Read by MLflow when it is first imported; who wants telemetry sets them before.
TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
PROGRESS = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}  # a line of a log for each file
CHATTY = ("alembic", "mlflow.store.db.utils")  # a line for each of the tables of a new SQLite store


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what is printed inside to stderr; every call into MLflow is made within.

    `sys.stdout` is the process's: a thread that prints meanwhile is redirected too, so keep other work outside.
    """
    for key, value in (TELEMETRY | PROGRESS).items():
        os.environ.setdefault(key, value)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        yield
