"""Outcomes of measured processes, kept as each ends, so that a run that was cut short goes on where it was. Driver.

They are kept by what was asked, by whose code, on which machine: an outcome of another commit is no outcome.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from recsys_spark.benchmark.launch import ContenderFailed, Measured
from recsys_spark.benchmark.spec import Outcome, Spec
from recsys_spark.tracking.provenance import PACKAGE_DIR

log = logging.getLogger(__name__)

_ABOUT = ("git.commit", "machine.cpu", "machine.cores", "machine.memory_gib")


@dataclass(frozen=True)
class Failure:
    """A process that did not complete, where that is an answer: the last lines of its log."""

    spec: Spec
    reason: str
    seconds: float


class Kept:
    """A folder of outcomes, a JSON file each.

    Parameters
    ----------
    about : tags of `provenance`
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        self.folder = folder
        self.reused = 0
        self._about = {key: about[key] for key in _ABOUT if key in about}
        self._about |= {key: value for key, value in about.items() if key.startswith("version.")}
        if about.get("git.dirty", "true") != "false":
            self._about["sources"] = sources()  # the commit does not say what runs

    def find(self, spec: Spec) -> Measured | Failure | None:
        """What the process found that was asked the same; None: nobody was, or the file is damaged."""
        path = self._path(spec)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if "reason" in found:
                return Failure(spec, found["reason"], found["seconds"])
            outcome = Outcome.model_validate(found["outcome"])
            return Measured(spec, outcome, found["peak"], found["between"], found["seconds"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as problem:
            log.warning("%s is damaged (%s): measured again", path, type(problem).__name__)
            return None

    def ask(self, spec: Spec, measure: Callable[[Spec], Measured], *, may_fail: bool = False) -> Measured | Failure:
        """The outcome that is kept, or else a new one.

        Raises
        ------
        ContenderFailed
            As `measure`, unless it may fail: that is then kept as well.
        """
        found = self.find(spec)
        if found is not None:
            self.reused += 1
            return found
        began = time.perf_counter()
        try:
            found = measure(spec)
        except ContenderFailed as failed:
            if not may_fail:
                raise
            found = Failure(spec, str(failed), time.perf_counter() - began)
        self._write(found)
        return found

    def forget(self) -> None:
        """Throw all outcomes away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, found: Measured | Failure) -> None:
        spec = found.spec.model_dump(mode="json")
        if isinstance(found, Failure):
            text = json.dumps({"spec": spec, "reason": found.reason, "seconds": found.seconds})
        else:
            rest = {name: getattr(found, name) for name in ("peak", "between", "seconds")}
            text = json.dumps({"spec": spec, "outcome": found.outcome.model_dump(mode="json"), **rest})
        path = self._path(found.spec)
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)

    def _path(self, spec: Spec) -> Path:
        asked = json.dumps([spec.model_dump(mode="json"), self._about], sort_keys=True)
        return self.folder / f"{spec.name}-{hashlib.blake2b(asked.encode(), digest_size=10).hexdigest()}.json"


def sources() -> str:
    """A hash of the package's Python sources."""
    digest = hashlib.blake2b(digest_size=10)
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE_DIR)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def as_record(found: Measured | Failure) -> dict[str, object]:
    """For the record: JSON-able."""
    spec = found.spec.model_dump(mode="json")
    if isinstance(found, Failure):
        return {"spec": spec, "reason": found.reason, "seconds": found.seconds}
    return {**asdict(found), "spec": spec, "outcome": found.outcome.model_dump(mode="json")}
