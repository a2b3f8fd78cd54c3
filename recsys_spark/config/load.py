"""Reading settings from YAML files and the command line, with every problem reported at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from recsys_spark.config.tree import GroupSpec, Settings
from recsys_spark.errors import ConfigError

_IN_PART: Any = {
    "train": {"item": True},
    "benchmark": {"models": True, "published": True},
    "tune": {"space": True},
    "ablate": {"variants": True},
    "sweep": {"parameters": True},
}
"""Settings of which a file or an override changes the part that it names: entries that have names, and what is said of
items, whose defaults are not those of their model, which is users' too.
"""


def load_settings(
    files: Sequence[str | os.PathLike[str]] = (),
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Defaults, then each YAML file, then each ``a.b=value`` override, then options: later ones win.

    Parameters
    ----------
    files : YAML files; each holds a part of the tree
    overrides : ``a.b.c=value``, where value is YAML
    options : values of settings as they are, by dotted name: those with an option of their own, such as ``--dataset``

    Raises
    ------
    ConfigError
        Unknown keys (with the nearest known one), values of a wrong type or out of range, unreadable files: all
        problems in one message, each with its dotted key and where it was set.
    """
    tree: dict[str, Any] = Settings().model_dump(mode="json", include=_IN_PART)
    origins: dict[str, str] = {}
    problems: list[str] = []
    for layer, origin in _layers(files, overrides, options or {}, problems):
        _merge(tree, layer, origin, origins)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems.extend(line for detail in error.errors() for line in _describe(detail, origins))
    if problems:
        raise ConfigError("\n  - ".join(["settings cannot be used:", *dict.fromkeys(problems)]))
    return settings


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings; those of a feature group stand under the list that holds it."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from known_keys(info.annotation, f"{prefix}{name}.")
            continue
        yield prefix + name
        branches = (info.annotation, *get_args(info.annotation))
        if any(GroupSpec in get_args(branch) for branch in branches):
            yield from known_keys(GroupSpec, f"{prefix}{name}.")


def _layers(
    files: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str],
    options: Mapping[str, Any],
    problems: list[str],
) -> Iterator[tuple[dict[str, Any], str]]:
    for file in files:
        try:
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"cannot read {file}: {_one_line(error)}")
            continue
        if content is None or isinstance(content, dict):
            yield content or {}, str(file)
        else:
            problems.append(f"{file} must hold a mapping of settings, found a {type(content).__name__}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {override}: expected key=value, such as train.rank=20")
            continue
        try:
            layer: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problems.append(f"--set {override}: the value is not YAML: {_one_line(error)}")
            continue
        yield _nested(key.strip(), layer), f"--set {override}"
    for name, value in options.items():
        yield _nested(name, value), "--" + name.rpartition(".")[2].replace("_", "-")


def _nested(key: str, value: Any) -> dict[str, Any]:
    """A part of the tree that holds one setting."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return cast(dict[str, Any], value)


def _merge(
    tree: dict[str, Any], layer: Mapping[Any, Any], origin: str, origins: dict[str, str], prefix: str = ""
) -> None:
    for name, value in layer.items():
        key = f"{prefix}{name}"
        origins[key] = origin
        if isinstance(value, Mapping) and isinstance(tree.get(name, {}), dict):
            _merge(tree.setdefault(name, {}), value, origin, origins, f"{key}.")
        else:
            tree[name] = value


def _describe(detail: Any, origins: Mapping[str, str]) -> Iterator[str]:
    """Say in a line a key: what is wrong, where it was set, and for an unknown key the nearest known one."""
    # A union's location names the branch that was tried, such as "tuple[GroupSpec, ...]": no key of ours.
    key = ".".join(str(part) for part in detail["loc"] if "[" not in str(part))
    if detail["type"] == "extra_forbidden":
        leaves = [k for k in origins if k.startswith(f"{key}.") and not any(o.startswith(f"{k}.") for o in origins)]
        for unknown in leaves or [key]:
            yield f"{unknown}: unknown setting{_origin(unknown, origins)}; the nearest known one is {_nearest(unknown)}"
        return
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"].startswith("date_"):
        message = "must be a date such as 2026-11-20"
    if detail["type"] != "value_error":
        message += f", found {detail['input']!r}"
    yield f"{key or 'settings'}: {message}{_origin(key, origins)}"


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Where a key was set, or the nearest key above it, or (for a section) one of those inside it."""
    parts = key.split(".")
    above = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    found = [origins[k] for k in above if k in origins]
    return f" (in {found[0]})" if found else ""


def _nearest(unknown: str) -> str:
    # Inside a group the position is no part of the name: features.item.0.kind is features.item.kind.
    parts = [part for part in unknown.split(".") if not part.isdigit()]
    known = list(known_keys())
    close = difflib.get_close_matches(".".join(parts), known, n=1, cutoff=0.75)
    same_name = [key for key in known if key.rsplit(".", 1)[-1] == parts[-1]]
    return (close or same_name or difflib.get_close_matches(".".join(parts), known, n=1, cutoff=0.0))[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
