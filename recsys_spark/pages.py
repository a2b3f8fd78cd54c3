"""Tables that programs write into Markdown files that people write. No Spark here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys_spark.errors import ConfigError


def has_marks(path: Path, mark: str) -> bool:
    """Whether a file has the lines that `put_between` wants."""
    return path.is_file() and f"<!-- {mark}:begin -->" in path.read_text(encoding="utf-8")


def put_between(path: Path, mark: str, text: str) -> None:
    """Put `text` between the lines ``<!-- MARK:begin -->`` and ``<!-- MARK:end -->`` of a file, for what is there.

    Raises
    ------
    ConfigError
        The file has no such lines.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    whole = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, found, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigError(f"{path} has no lines {begin} and {end} to put the table between; add them")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
