"""Checkpoints: saved models plus what the training loop knows, so that a fit goes on to the same bits. Driver.

    <root>/<fingerprint>/_LATEST             name of the newest checkpoint: swapped in one piece
    <root>/<fingerprint>/iteration-00005-…/  state.json, model/ (the rows after it), best/ (where another one is best)

The fingerprint is of data, settings (but for ``max_iter``: a resumed fit may go further) and initial model, so a
checkpoint of anything else is not found; one of another release of the package is refused.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from recsys_spark import __version__, lake
from recsys_spark.als.model_uri import load_model_uri, save_model_uri
from recsys_spark.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

LATEST, STATE, MODEL, BEST = "_LATEST", "state.json", "model", "best"


@dataclass(frozen=True)
class Progress:
    """What the loop knows beside rows, projections and history, after an iteration; plain numbers, sides in order."""

    iteration: int
    sse: float
    held_out_sse: float
    reg: tuple[float, float]
    reg_bias: tuple[float, float]
    max_bias: tuple[float, float]
    best_score: float | None  # None: infinite, nothing was validated yet
    patience_since: int
    patience_score: float | None
    unobserved: float = 0.0
    gram_bounds: tuple[float, float] = (0.0, 0.0)  # of each side's `unseen.GramGrid`, 0 where there is none


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One iteration's end. ``model`` holds its rows and the history so far, ``best`` those of the best iteration."""

    progress: Progress
    model: Any
    best: Any


class Checkpoints(Protocol):
    """Where checkpoints go, and how often."""

    every: int

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""

    def load(self, fingerprint: str) -> Checkpoint | None:
        """The newest checkpoint of a fit, if there is one."""

    def clear(self, fingerprint: str) -> None:
        """Remove a fit's checkpoints: it is done."""


class LakeCheckpoints:
    """Checkpoints under a path or URI.

    Parameters
    ----------
    spark : SparkSession
    root : str
    every : int
        Iterations between checkpoints.
    save, load : callables, optional
        How a model goes to a URI and comes from one.
    """

    def __init__(
        self,
        spark: SparkSession,
        root: str,
        every: int,
        save: Callable[[SparkSession, Any, str], None] = save_model_uri,
        load: Callable[[SparkSession, str], Any] = load_model_uri,
    ) -> None:
        self.spark, self.root, self.every = spark, root.rstrip("/"), every
        self._save, self._load = save, load

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> None:
        """See `Checkpoints`. The pointer is swapped once all is written; what a crash leaves is removed next time."""
        folder = f"{self.root}/{fingerprint}"
        name = f"iteration-{checkpoint.progress.iteration:05d}-{uuid.uuid4().hex[:8]}"
        self._save(self.spark, checkpoint.model, f"{folder}/{name}/{MODEL}")
        if checkpoint.best.best_iteration != checkpoint.progress.iteration:
            self._save(self.spark, checkpoint.best, f"{folder}/{name}/{BEST}")
        state = {"version": __version__, "fingerprint": fingerprint, "progress": asdict(checkpoint.progress)}
        lake.write_text(self.spark, f"{folder}/{name}/{STATE}", json.dumps(state, indent=2) + "\n")
        lake.write_text(self.spark, f"{folder}/{LATEST}", name)
        for other, is_directory, *_ in lake.list_dir(self.spark, folder):
            if is_directory and other != name:
                lake.delete(self.spark, f"{folder}/{other}")

    def load(self, fingerprint: str) -> Checkpoint | None:
        """See `Checkpoints`. DataError where it is damaged or of another release: it says which directory to remove."""
        folder = f"{self.root}/{fingerprint}"
        name = lake.read_pointer(self.spark, f"{folder}/{LATEST}")
        if name is None:
            return None
        source = f"{folder}/{name}"
        try:
            state = json.loads(lake.read_text(self.spark, f"{source}/{STATE}"))
            progress = _progress(state["progress"])
        except (KeyError, TypeError, ValueError, RecursionError, DataError) as problem:
            raise DataError(f"the checkpoint {source} cannot be read ({problem}); remove {folder}") from problem
        if state.get("version") != __version__:
            raise DataError(
                f"the checkpoint {source} is of release {state.get('version')}, this is {__version__}: its "
                f"fit would not go on to the same result; finish it with that release, or remove {folder}"
            )
        model = self._load(self.spark, f"{source}/{MODEL}")
        apart = lake.exists(self.spark, f"{source}/{BEST}")
        best = self._load(self.spark, f"{source}/{BEST}") if apart else model
        log.info("resuming after iteration %d from %s", progress.iteration, source)
        return Checkpoint(progress, model, best)

    def clear(self, fingerprint: str) -> None:
        """See `Checkpoints`."""
        lake.delete(self.spark, f"{self.root}/{fingerprint}")


def _progress(found: dict[str, Any]) -> Progress:
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in found.items()}
    return Progress(**values)
