"""A real standalone cluster on loopback: master and workers are processes, each worker a host of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyspark

ROOT = Path(__file__).resolve().parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
_DEADLINE = 300.0


def wait_for(condition: Callable[[], Any], what: str, process: subprocess.Popen[Any] | None = None) -> Any:
    """Look until there is something, and return it; fails if the process ends before, or nothing comes."""
    end = time.monotonic() + _DEADLINE
    while True:
        ended = process is not None and process.poll() is not None
        if found := condition():
            return found
        assert not ended, f"ended before {what}"
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def clean_environment(home: Path, **env: str) -> dict[str, str]:
    """What a daemon of a cluster has: no trace of this checkout or its Python, but Java and the compiled kernels."""
    java = shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin{os.pathsep}{os.environ['PATH']}")
    assert java, "no Java"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    kept = {"XDG_CACHE_HOME": cache, "JDK_JAVA_OPTIONS": os.environ["JDK_JAVA_OPTIONS"]}
    return {"PATH": f"/usr/bin:/bin:{Path(java).parent}", "HOME": str(home), **kept, **env}


class Node:
    """A master or worker, with a directory of its own; everything that it starts dies with it."""

    def __init__(self, folder: Path, command: list[str], prefix: list[str], **env: str) -> None:
        self.folder, self.log = folder, folder / "log"
        (folder / "conf").mkdir(parents=True)
        env |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_CONF_DIR": str(folder / "conf"), "SPARK_DAEMON_MEMORY": "256m"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, str(SPARK_HOME / "bin/spark-class"), *command],
                cwd=folder,
                env=clean_environment(folder, **env),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def says(self, pattern: str) -> str:
        """Wait for a line of its log; returns the first group."""
        compiled = re.compile(pattern)
        found = wait_for(lambda: compiled.search(self.log.read_text()), f"{pattern!r} in {self.log}", self.process)
        return str(found.group(1))

    def kill(self) -> None:
        """Stop the machine: SIGKILL for the daemon and its executors at once; Python workers end with those."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Standalone:
    """One master; workers of one core each are added by :meth:`add_node`, each with a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.nodes = folder, list[Node]()
        command = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        self.master = Node(folder / "master", command, [])
        self.url = self.master.says(r"Starting Spark master at (spark://\S+)")

    def add_node(self, prefix: list[str] | None = None) -> Node:
        """A worker on the next address of loopback; `prefix` is a command that runs it, {disk} its directory."""
        number = len(self.nodes) + 1
        disk = self.folder / f"disk{number}"
        disk.mkdir()
        address = ["--host", f"127.0.0.{number}", "--port", "0", "--webui-port", "0"]
        size = ["--cores", "1", "--memory", "1g", "--work-dir", str(disk / "work")]
        command = ["org.apache.spark.deploy.worker.Worker", *address, *size, self.url]
        prefix = [word.format(disk=disk) for word in prefix or []]
        node = Node(self.folder / f"node{number}", command, prefix, SPARK_LOCAL_DIRS=str(disk / "local"))
        self.nodes.append(node)
        node.says("Successfully registered with (master)")
        return node

    def start(self, *options: str, conf: Mapping[str, str] | None = None, **env: str) -> Job:
        """Submit to this cluster with spark-submit.sh, from a directory that executors know nothing of."""
        settings = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", **(conf or {})}
        given = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        return Job(self.folder, "--master", self.url, "--executor-memory", "512m", *given, *options, **env)

    def stop(self) -> None:
        """End every process, jobs that a failed test left among them."""
        for running in [*Job.started, *self.nodes, self.master]:
            running.kill()


class Job:
    """A job that spark-submit.sh runs, in a session of its own."""

    started: ClassVar[list[Job]] = []

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        number = sum(1 for _ in folder.glob("driver*"))
        self.folder = folder / f"driver{number}"
        self.folder.mkdir(parents=True)
        quiet = ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2"]
        self.out, self.err = self.folder / "stdout", self.folder / "stderr"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [str(ROOT / "spark-submit.sh"), *quiet, *options],
                cwd=self.folder,
                env=clean_environment(self.folder, SPARK_DRIVER_MEMORY="1g", **env),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.started.append(self)

    def says(self, words: str) -> None:
        """Wait for words on stderr."""
        wait_for(lambda: words in self.stderr, f"{words!r} in {self.err}", self.process)

    @property
    def stderr(self) -> str:
        """All that was said so far."""
        return self.err.read_text()

    def kill(self) -> None:
        """SIGKILL for driver and JVM at once, as when their machine stops."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ended(self) -> dict[str, Any]:
        """Wait for the end; the JSON line, with `code` for the exit status."""
        code = self.process.wait(timeout=1200)
        lines = self.out.read_text().splitlines()
        assert lines, f"ended with {code}:\n{self.stderr[-6000:]}"
        return {**json.loads(lines[-1]), "code": code}

    def succeeded(self) -> dict[str, Any]:
        """Wait for the end, which must be a good one."""
        line = self.ended()
        assert line["status"] == "ok", f"{line}\n{self.stderr[-6000:]}"
        return line


def python() -> str:
    """This environment's Python, for executors that are said to have it."""
    return sys.executable
