"""The notebooks as they are committed: no results in them, nothing defined, parameters first."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def code(path: Path) -> ast.Module:
    lines = "\n".join(cell.source for cell in cells(path, "code")).splitlines()
    return ast.parse("\n".join(line for line in lines if not line.startswith("%")))


def test_no_outputs_are_committed(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    ran = [cell.source for cell in cells(path, "code") if cell.outputs or cell.execution_count is not None]
    assert ran == [], "clear them: jupyter nbconvert --clear-output --inplace notebooks/*.ipynb"


def test_nothing_is_defined(path: Path) -> None:
    defining = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    found = [node.lineno for node in ast.walk(code(path)) if isinstance(node, defining)]
    assert found == [], "functions live in recsys_spark/explore, where they are tested"


def test_the_first_code_is_the_parameters(path: Path) -> None:
    first = cells(path, "code")[0]
    assert first.metadata.get("tags") == ["parameters"]
    tree = ast.parse(first.source)
    assert {"WORKDIR", "DATASET"} <= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert all(isinstance(node, (ast.Import, ast.Assign)) for node in tree.body)


def test_words_come_before_code(path: Path) -> None:
    known = nbformat.read(path, as_version=4).cells
    assert known[0].cell_type == "markdown"
    assert known[0].source.startswith("# ")
    assert len(cells(path, "markdown")) >= 0.6 * len(cells(path, "code"))
