"""The registry: the versions of one model, which of them is the champion, and what was decided about each; driver.

The alias ``champion`` says which one serves. A champion knows the one before it by a tag, so that rolling back is one
move of the alias, and can be done more than once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from recsys_spark.als.model import FittedModel
from recsys_spark.als.model_io import load_model
from recsys_spark.als.model_uri import named
from recsys_spark.config import Settings
from recsys_spark.errors import ConfigError, DataError, NotPublishedError, RefusedError
from recsys_spark.tracking.models import LOADER
from recsys_spark.tracking.quiet import quiet
from recsys_spark.tracking.store import explained, mlflow, store_uri
from recsys_spark.tracking.versions import BACK, CHAMPION, DECISION, FORMER, ROLLED_BACK, Version


class Registry:
    """The versions of one registered model in the store of the settings.

    Every method raises EnvironmentProblem where that cannot be used.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.name, self.store = name, store_uri(settings)
        with self._asked():
            self._client = mlflow.MlflowClient(tracking_uri=self.store)
            self._client.search_registered_models(max_results=1)

    def champion(self) -> Version | None:
        """The version that serves; None where there is no model, or no champion."""
        return self.by_alias(CHAMPION)

    def by_alias(self, alias: str) -> Version | None:
        """The version that an alias names; None where there is no such model or alias."""
        return self._found(self._client.get_model_version_by_alias, alias)

    def version(self, number: str) -> Version | None:
        """A version by its number; None where there is no such model or version."""
        return self._found(self._client.get_model_version, number)

    def find(self, tag: str, value: str) -> Version | None:
        """The newest version with a tag of that value."""
        with self._asked():
            listed = self._client.search_model_versions(f"name='{self.name}'", order_by=["version_number DESC"])
        versions = (self._version(entry) for entry in listed)
        return next((version for version in versions if version.tags.get(tag) == value), None)

    def download(self, version: Version, path: str, into: Path) -> Path:
        """A file or directory of a version, to a local directory: where it lies there."""
        with self._asked():
            location = self._client.get_model_version_download_uri(self.name, version.number)
            uri = f"{location}/{path}"
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(into), tracking_uri=self.store))

    def describe(self, text: str) -> None:
        """What the page of the registered model says."""
        with self._asked():
            self._client.update_registered_model(self.name, description=text)

    def note(self, number: str, tags: Mapping[str, str], description: str | None = None) -> None:
        """Tags of a version and, if given, the text on its page."""
        with self._asked():
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, number, key, value)
            if description is not None:
                self._client.update_model_version(self.name, number, description)

    def promote(self, number: str, expected: Version | None) -> None:
        """Make a version the champion in place of `expected`.

        Raises
        ------
        RefusedError
            Somebody else has made another version the champion meanwhile.
        """
        now = self.champion()
        if (now and now.number) != (expected and expected.number):
            raise RefusedError(
                f"version {number} of {self.name!r} is not promoted: it was judged beside {_told(expected)}, and now "
                f"the champion is {_told(now)}; run jobs/retrain.py again"
            )
        if expected:
            self.note(number, {FORMER: expected.number})
        self._point_to(number)

    def roll_back(self, why: str = "") -> tuple[Version, Version]:
        """Make the former champion the champion again: (the one that was, the one that is).

        Raises
        ------
        NotPublishedError
            There is no champion, or its predecessor has been deleted.
        RefusedError
            The champion is the first one.
        """
        champion = self.champion()
        if champion is None:
            raise NotPublishedError(f"the model {self.name!r} in {self.store} has no champion to roll back")
        if FORMER not in champion.tags:
            raise RefusedError(
                f"version {champion.number} of {self.name!r} is the first champion: there is none to roll back to"
            )
        former = self.version(champion.tags[FORMER])
        if former is None:
            raise NotPublishedError(
                f"version {champion.tags[FORMER]} of {self.name!r}, the champion before {champion.number}, is gone: "
                f"set the alias {CHAMPION} to another version in the MLflow UI"
            )
        self._point_to(former.number)
        now = datetime.now(timezone.utc)
        told = f"{now:%Y-%m-%d %H:%M} UTC to version {former.number}" + (f": {why}" if why else "")
        with self._asked():
            text = self._client.get_model_version(self.name, champion.number).description or ""
        tags = {DECISION: BACK, ROLLED_BACK: told}
        self.note(champion.number, tags, f"{text}\n\nRolled back {told}.".strip())
        return champion, former

    def _point_to(self, number: str) -> None:
        with self._asked():
            self._client.set_registered_model_alias(self.name, CHAMPION, number)

    def _found(self, get: Callable[[str, str], Any], which: str) -> Version | None:
        with self._asked():
            try:
                return self._version(get(self.name, which))
            except mlflow.exceptions.MlflowException as problem:
                # An alias or version that is not there is an invalid parameter to some stores.
                if problem.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                return None

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Every call into the store: what it cannot do is an EnvironmentProblem that names it."""
        with explained(self.store), quiet():
            yield

    def _version(self, entry: Any) -> Version:
        return Version(self.name, str(entry.version), entry.run_id or "", dict(entry.tags))


def fetch(settings: Settings, uri: str) -> tuple[FittedModel, dict[str, str]]:
    """A registered model as plain arrays, and what is known of it: uri, name, version, run_id, alias if asked by one.

    Its arrays are read; the code that was logged with it is not run.

    Parameters
    ----------
    uri : ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``

    Raises
    ------
    ConfigError
        The URI has another form.
    NotPublishedError
        The store has no such model.
    DataError
        The model is not one of this package.
    """
    name, mark, which = _parts(uri)
    registry = Registry(settings, name)
    version = registry.by_alias(which) if mark == "@" else registry.version(which)
    if version is None:
        raise NotPublishedError(
            f"no model {uri} in {registry.store}; run jobs/retrain.py first, or see the Models page of the MLflow UI"
        )
    with tempfile.TemporaryDirectory(prefix="recsys-spark-registry-") as scratch:
        described = registry.download(version, "MLmodel", Path(scratch)).read_text(encoding="utf-8")
        local = registry.download(version, _data_of(described, uri), Path(scratch))
        with named(uri, local):
            model = load_model(local)
    alias = {"alias": which} if mark == "@" else {}
    return model, {"uri": uri, "name": name, "version": version.number, "run_id": version.run_id, **alias}


def _told(version: Version | None) -> str:
    return f"version {version.number}" if version else "none"


def _data_of(described: str, uri: str) -> str:
    """Where in a logged model the directory lies that `save_model` wrote, as its MLmodel file says."""
    flavor = yaml.safe_load(described).get("flavors", {}).get("python_function", {})
    data = str(flavor.get("data", ""))
    if flavor.get("loader_module") != LOADER or not data or ".." in data.split("/") or data.startswith("/"):
        raise DataError(
            f"{uri} is no model of recsys_spark: its loader is {flavor.get('loader_module')!r}, its data {data!r}"
        )
    return data


def _parts(uri: str) -> tuple[str, str, str]:
    rest = uri.removeprefix("models:/")
    mark = "@" if "@" in rest else "/"
    name, _, which = rest.partition(mark)
    if not name or not which or "/" in which:
        raise ConfigError(
            f"score.model {uri!r} is no registered model: write models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    return name, mark, which
