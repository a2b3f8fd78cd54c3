"""Settings and tables as the text that a run shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """A tree of settings as dotted names and text; lists are JSON.

    >>> flatten({"train": {"rank": 20, "clip": [0.5, 5.0]}})
    {'train.rank': '20', 'train.clip': '[0.5, 5.0]'}
    >>> flatten({}), flatten({"conf": {}})
    ({}, {'conf': '{}'})
    """
    if isinstance(value, Mapping) and (value or not prefix):
        parts = [flatten(inner, f"{prefix}.{key}" if prefix else str(key)) for key, inner in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value)}


def markdown(table: pd.DataFrame) -> str:
    r"""A DataFrame as a Markdown table, without its index; fractional numbers with three decimals.

    >>> import pandas as pd
    >>> print(markdown(pd.DataFrame({"title": ["A|B"], "score": [4.25]})), end="")
    | title | score |
    |---|---|
    | A\|B | 4.250 |
    """
    rows: list[Iterable[Any]] = [table.columns, *table.itertuples(index=False)]
    head, *body = (" | ".join(_cell(value) for value in row) for row in rows)
    rule = "|" + "---|" * len(table.columns)
    return "\n".join([f"| {head} |", rule, *(f"| {row} |" for row in body), ""])


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
