"""What is said of the versions of a registered model, in words that all who ask share. No mlflow here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHAMPION = "champion"
"""The alias of the version that serves."""

FORMER, DECISION, REASON, ROLLED_BACK = "former_champion", "decision", "reason", "rolled_back"
"""Tags: the champion before, what became of the version and why, when it was rolled back."""

UNDECIDED, PROMOTED, KEPT, BACK = "being judged", "promoted", "not promoted", "rolled back"
"""Decisions; a version whose job was killed stays undecided."""


@dataclass(frozen=True)
class Version:
    """A version as the registry tells it; `number` is a string, as MLflow has it."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def decided(self) -> bool:
        """Whether it is known what becomes of it."""
        return self.tags.get(DECISION, UNDECIDED) != UNDECIDED

    @property
    def uri(self) -> str:
        """What ``score.model`` takes."""
        return f"models:/{self.name}/{self.number}"
