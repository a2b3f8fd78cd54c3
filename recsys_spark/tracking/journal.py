"""What a run is to tell MLflow, kept on the driver's disk until its store takes it; driver only, no mlflow here.

    <folder>/<id>/run.json       how to find or begin the run; how it ended
    <folder>/<id>/00001.json     one call: method, arguments, when
    <folder>/<id>/00001/         its files (a model, a table), complete before the call is written
    <folder>/<id>/00001.done     the store has it

The id is the run's own, or, where the store never answered, ``pending-…``: the run that `replay` makes carries it as a
tag, and later steps find that run by it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import override

from recsys_spark.config import Settings
from recsys_spark.errors import EnvironmentProblem
from recsys_spark.redact import redact, redact_tree
from recsys_spark.tracking.run import Child, Tracker, now_ms

if TYPE_CHECKING:
    import pandas as pd

    from recsys_spark.tracking.datasets import DataSet

PENDING = "pending-"
RUN, DONE, LOCK = "run.json", ".done", "lock"
TABLE = "table.parquet"


class Journal(Tracker):
    """Writes calls down instead of making them. Only one process has a journal open.

    Parameters
    ----------
    folder : Path
        Where journals lie.
    run_id : str or None
        Of the run; None: the store has none.
    begin : mapping
        What a run is begun with: experiment, name, tags.

    Raises
    ------
    EnvironmentProblem
        Another process has the journal open.
    """

    def __init__(self, folder: Path, run_id: str | None, begin: Mapping[str, Any]) -> None:
        self.run_id = run_id or f"{PENDING}{uuid.uuid4().hex}"
        self.path = (folder / self.run_id).absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise EnvironmentProblem(f"another process works on {self.path}: run it again when it is done") from None
        if not (self.path / RUN).exists():
            self._write(RUN, {**begin, "began": now_ms(), "status": "KILLED", "ended": None})

    @property
    def about(self) -> dict[str, Any]:
        """What run.json says: experiment, run_name, tags, began, status, ended (ms since 1970)."""
        return dict(json.loads((self.path / RUN).read_text(encoding="utf-8")))

    def close(self, status: str | None = None) -> None:
        """Let others have it; with a status, the run has ended."""
        if status is not None:
            self._write(RUN, {**self.about, "status": status, "ended": now_ms()})
        self._lock.close()

    def entries(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Calls that the store does not have yet, in order: where an entry's files are, and the entry."""
        for file in sorted(self.path.glob("[0-9]*.json")):
            if not file.with_suffix(DONE).exists():
                yield file.with_suffix(""), json.loads(file.read_text(encoding="utf-8"))

    def done(self, files: Path) -> None:
        """The store has this entry."""
        files.with_suffix(DONE).touch()

    def remove(self) -> None:
        """The store has it all."""
        shutil.rmtree(self.path)
        self._lock.close()

    @override
    def log_settings(self, settings: Settings) -> None:
        self._add("log_settings", {"settings": redact_tree(settings.model_dump(mode="json"))})

    @override
    def log_tags(self, tags: Mapping[str, str]) -> None:
        self._add("log_tags", {"tags": {key: redact(value) for key, value in tags.items()}})

    @override
    def log_dataset(self, data: DataSet) -> None:
        self._add("log_dataset", {"data": _told(data)})

    @override
    def log_history(self, history: pa.Table) -> None:
        pq.write_table(history, self._files() / TABLE)
        self._add("log_history", {})

    @override
    def log_model(self, model_dir: str | Path) -> None:
        shutil.copytree(model_dir, self._files(), dirs_exist_ok=True)
        self._add("log_model", {})

    @override
    def log_metrics(self, metrics: Mapping[str, float], data: DataSet | None = None) -> None:
        numbers = {key: float(value) for key, value in metrics.items()}
        self._add("log_metrics", {"metrics": numbers, "data": None if data is None else _told(data)})

    @override
    def log_directory(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        shutil.copytree(local_dir, self._files(), dirs_exist_ok=True)
        self._add("log_directory", {"artifact_path": artifact_path})

    @override
    def log_table(self, table: pd.DataFrame, name: str) -> None:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), self._files() / TABLE)
        self._add("log_table", {"name": name})

    @override
    def log_text(self, text: str, name: str) -> None:
        self._add("log_text", {"text": text, "name": name})

    @override
    def log_child(self, child: Child) -> None:
        numbers = {key: float(value) for key, value in child.metrics.items()}
        lines = {key: [float(value) for value in curve] for key, curve in child.curves.items()}
        told = child._replace(params=redact_tree(child.params), metrics=numbers, curves=lines)
        self._add("log_child", told._asdict())

    def _next(self) -> str:
        return f"{1 + sum(1 for _ in self.path.glob('[0-9]*.json')):05d}"

    def _files(self) -> Path:
        """An empty directory for the next entry's files; what a crash left there is removed."""
        files = self.path / self._next()
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        return files

    def _add(self, method: str, arguments: dict[str, Any]) -> None:
        self._write(f"{self._next()}.json", {"method": method, "at": now_ms(), "arguments": arguments})

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        temporary = self.path / f".{name}"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)


def journals(folder: Path) -> list[str]:
    """Ids of the journals there are, oldest first."""
    found = [path.parent for path in folder.glob(f"*/{RUN}")]
    return [path.name for path in sorted(found, key=lambda path: (json.loads((path / RUN).read_text())["began"], path))]


def _told(data: DataSet) -> dict[str, Any]:
    """What is written down of a data set."""
    return dataclasses.asdict(data) | {"path": redact(data.path)}
