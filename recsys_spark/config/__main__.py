"""Print all defaults as commented YAML: ``python -m recsys_spark.config > conf/default.yaml``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from recsys_spark.config.tree import Settings

HEADER = """\
# Every setting with its default, read by every job. Printed by `python -m recsys_spark.config`, which a test compares.
# Other values: a file of your own (--config my.yaml holds only what differs) or --set train.rank=30.
"""


def render(model: BaseModel, indent: str = "") -> Iterator[str]:
    """Lines of YAML for a tree of settings, each setting under its description."""
    values = model.model_dump(mode="json")
    for name, info in type(model).model_fields.items():
        inner = getattr(model, name)
        text = info.description or (type(inner).__doc__ or "").partition("\n")[0]
        yield f"{indent}# {text}"
        if isinstance(inner, BaseModel):
            yield f"{indent}{name}:"
            yield from render(inner, indent + "  ")
        elif isinstance(values[name], list) and values[name] and isinstance(values[name][0], dict):
            yield f"{indent}{name}:"
            yield from (f"{indent}  - {json.dumps(value, ensure_ascii=False)}" for value in values[name])
        elif isinstance(inner, dict) and inner:
            yield f"{indent}{name}:"
            yield from (
                f"{indent}  {key}: {json.dumps(_brief(value), ensure_ascii=False)}" for key, value in inner.items()
            )
        else:
            yield f"{indent}{name}: {json.dumps(values[name], ensure_ascii=False)}"


def _brief(value: Any) -> Any:
    """An entry of a mapping, without what is its model's default."""
    return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else value


def default_yaml() -> str:
    """Content of ``conf/default.yaml``."""
    return HEADER + "\n".join(render(Settings())) + "\n"


if __name__ == "__main__":
    print(default_yaml(), end="")
