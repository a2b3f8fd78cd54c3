"""Taking secrets out of text that others read: logs, errors, results, manifests, MLflow.

What counts as one: the password of a URI, the value of a setting or URL parameter whose name says so (Spark's own
`spark.redaction.regex` and the cloud stores' names), and the value of an environment variable with such a name.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_NAME = r"secret|passw(?:or)?d|token|credential|access[._-]?key|account[._-]key|api[._-]?key|private[._-]?key|signature"
_SECRET_NAME = re.compile(rf"(?i){_NAME}")
# Containers of abfss://container@account and the like stay: only after a colon, or in a web address, is it a password.
_PASSWORD = re.compile(r"(?i)(?<=://)([^\s/:@'\"]*):(?!\d+/)[^\s@'\"]+@")
_WEB_USER = re.compile(r"(?i)(?<=http://|ttps://)[^\s/:@'\"]+@")
_ASSIGNED = re.compile(
    rf"(?i)((?:[\w.-]*(?:{_NAME})[\w.-]*|[?&]sig)(?:=|['\"]\s*[:=]\s*))(\"[^\"]*\"|'[^']*'|[^\s'\",;&)}}\]]+)"
)
_LEAST = 8  # characters of an environment variable's value that cannot well be there by chance


def redact(text: str) -> str:
    """The text with what looks like a secret replaced by ``***``.

    >>> redact("postgresql://mlflow:pa/ss@db:5432/mlflow"), redact("abfss://lake@account.dfs.core.windows.net/x")
    ('postgresql://mlflow:***@db:5432/mlflow', 'abfss://lake@account.dfs.core.windows.net/x')
    >>> redact("--conf spark.hadoop.fs.s3a.secret.key=abc --set train.rank=3"), redact("{'api_key': 'x y', 'rank': 3}")
    ('--conf spark.hadoop.fs.s3a.secret.key=*** --set train.rank=3', "{'api_key': ***, 'rank': 3}")
    """
    for name, value in os.environ.items():
        if len(value) >= _LEAST and _SECRET_NAME.search(name) and value in text:
            text = text.replace(value, HIDDEN)
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _WEB_USER.sub(f"{HIDDEN}@", text)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)


def redact_tree(value: Any, name: str = "") -> Any:
    """A tree of settings with the same taken out of its texts, and every value whose name says that it is secret.

    >>> redact_tree({"conf": {"fs.s3a.secret.key": "abc", "retries": 3}, "uri": "http://me:pw@host"})
    {'conf': {'fs.s3a.secret.key': '***', 'retries': 3}, 'uri': 'http://me:***@host'}
    """
    if isinstance(value, Mapping):
        return {key: redact_tree(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(inner, name) for inner in value]
    if value is not None and _SECRET_NAME.search(name):
        return HIDDEN
    return redact(value) if isinstance(value, str) else value


class RedactingFormatter(logging.Formatter):
    """A formatter of log records, tracebacks included, that lets no secret through."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return redact(super().format(record))
