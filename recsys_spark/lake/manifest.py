"""What a published version says about itself, and the fingerprints that name it; no Spark here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys_spark.redact import redact_tree

MANIFEST = "_manifest.json"
POINTER = "_CURRENT"


def fingerprint(*parts: Any) -> str:
    """Hash of JSON-able values that does not depend on the order of dict keys: 16 hex digits.

    Raises
    ------
    TypeError, ValueError
        A part that JSON cannot express (an object, NaN): it would not hash alike twice.

    >>> fingerprint("split", {"k": 5, "seed": 7}) == fingerprint("split", {"seed": 7, "k": 5})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class TableInfo:
    """A table of a version: its number of rows, its schema as Spark DDL, and of how many files it is."""

    rows: int
    schema: str
    files: int | None = None  # unknown


@dataclass(frozen=True)
class Manifest:
    """All that is recorded about a version.

    Attributes
    ----------
    step : name of the step that wrote it
    version : name of the directory
    created : UTC, ISO 8601 with microseconds
    tables : rows and schema by table name
    settings : the settings that decided the result, resolved
    inputs : fingerprint (or version) of each input by its name
    fingerprint : hash of step, settings, inputs and package version
    extra : what the step's writer returned (counts, measures)
    package_version : version of recsys_spark
    """

    step: str
    version: str
    created: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    fingerprint: str
    package_version: str
    tables: Mapping[str, TableInfo] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as indented JSON (NaN is refused: it is not JSON), its settings without secrets."""
        data = dataclasses.asdict(self) | {"settings": redact_tree(self.settings)}
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            Not a whole manifest: cut off, or with other fields.
        """
        try:
            data = json.loads(text)
            tables = {name: TableInfo(**info) for name, info in data.pop("tables").items()}
            return cls(**data, tables=tables)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a manifest: {error}") from error


@dataclass(frozen=True)
class Published:
    """A whole version: its immutable directory, its manifest, and whether it was there before."""

    path: str
    manifest: Manifest
    reused: bool = False

    def table(self, name: str) -> str:
        """Path of one of its tables."""
        return f"{self.path}/{name}"
