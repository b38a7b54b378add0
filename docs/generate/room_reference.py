"""The table of the engine's packages, from their own docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from pages import ROOT
from text import sentence, table

ENGINE = ROOT / "engine" / "autophage"


def rooms() -> str:
    """A row for each package and module at the top of the engine: its name, and the first sentence of its docstring."""
    packages = sorted(path.parent for path in ENGINE.glob("*/__init__.py"))
    modules = sorted(path for path in ENGINE.glob("*.py") if not path.name.startswith("__"))
    rows = [[f"`{path.name}/`", _first_sentence(path / "__init__.py")] for path in packages]
    rows += [[f"`{path.name}`", _first_sentence(path)] for path in modules]
    return table(["in `engine/autophage/`", "owns"], rows)


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = " ".join(docstring.split("\n\n")[0].split())
    return sentence(first.split(". ")[0])
