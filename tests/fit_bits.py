"""What tests of whole fits share: their bits, and checkpoints on disk that a fit dies of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_spark.als.checkpoint import Checkpoint, Progress
from recsys_spark.als.model import MEASURED, FittedModel
from recsys_spark.als.model_io import load_model, save_model


class Disk:
    """Checkpoints through saved models; the training dies after writing number ``die_after``."""

    def __init__(self, root: Path, every: int, die_after: int | None = None) -> None:
        self.root, self.every, self.die_after = root, every, die_after
        self.progress: dict[str, Progress] = {}
        self.cleared: list[str] = []

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> None:
        number = checkpoint.progress.iteration
        save_model(checkpoint.model, self.root / fingerprint / f"{number}")
        save_model(checkpoint.best, self.root / fingerprint / f"{number}-best")
        self.progress[fingerprint] = checkpoint.progress
        if number == self.die_after:
            raise KeyboardInterrupt

    def load(self, fingerprint: str) -> Checkpoint | None:
        if fingerprint not in self.progress:
            return None
        progress = self.progress[fingerprint]
        folder = self.root / fingerprint
        number = progress.iteration
        return Checkpoint(progress, load_model(folder / f"{number}"), load_model(folder / f"{number}-best"))

    def clear(self, fingerprint: str) -> None:
        self.cleared.append(fingerprint)


def bits(model: FittedModel) -> list[bytes]:
    arrays = [a for s in (model.user, model.item) for a in (s.factors, s.biases, s.projection, s.projection_bias)]
    arrays += [np.asarray(c) for c in model.history.drop_columns(list(MEASURED)).columns]
    return [a.tobytes() for a in arrays] + [repr((model.mu, model.best_iteration, model.stop_reason)).encode()]
