"""A study's report as one HTML page that needs no other file; no Spark here."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_spark.study.report import NOTES, statements, table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2f36; max-width: 1200px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { padding: 4px 8px; border-bottom: 1px solid #e3e7eb; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } figure { margin: 1.5em 0; } p.note { color: #6b7280; font-size: 13px; }
"""


def page(results: Mapping[str, Any], pngs: Mapping[str, bytes], about: Mapping[str, str]) -> str:
    """The page.

    Parameters
    ----------
    pngs : figures by name, embedded in this order
    about : what ran, by name: data set, commit, machine
    """
    figures = "\n".join(
        f'<figure><img alt="{html.escape(name.replace("_", " "))}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}"></figure>'
        for name, png in pngs.items()
    )
    found = "\n".join(f"<li>{html.escape(text)}</li>" for text in statements(results))
    facts = _rows([(name, value) for name, value in sorted(about.items())], "td")
    name = html.escape(about.get("dataset", "study"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Study of {name}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>Study of {name}</h1>\n<ul>\n{found}\n</ul>\n"
        f'<h2>Variants</h2>\n{_table(table(results))}\n<p class="note">{html.escape(NOTES)}</p>\n'
        f"<h2>Figures</h2>\n{figures}\n<h2>What ran</h2>\n<table>{facts}</table>\n</body></html>\n"
    )


def _table(markdown: str) -> str:
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in markdown.splitlines()]
    return f"<table>{_rows([head], 'th')}{_rows(rows, 'td')}</table>"


def _rows(rows: Sequence[Sequence[str]], tag: str) -> str:
    return "\n".join("<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in row) + "</tr>" for row in rows)


def _cell(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))
