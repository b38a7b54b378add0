"""The messages that the troubleshooting page explains are messages of the code.

Of a message in bold, words in capital letters and `...` stand for anything. Change page and message together.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide/troubleshooting.md").read_text("utf-8")
TERMS = re.findall(r"^(\*\*.*)\n:   ", PAGE, flags=re.MULTILINE)
MESSAGES = [message for term in TERMS for message in re.findall(r"\*\*(.+?)\*\*", term)]
VALUE = "\0"
"""Stands for what a message puts in."""


@cache
def texts() -> str:
    """Every text of the engine's code, one a line. `VALUE` stands for inserted values."""
    files = sorted((ROOT / "engine/autophage").rglob("*.py"))
    return "\n".join(text for file in files for text in _texts(ast.parse(file.read_text("utf-8"))))


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = (str(one.value) if isinstance(one, ast.Constant) else VALUE for one in node.values)
            yield " ".join("".join(pieces).split())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 25


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_says_it(message: str) -> None:
    pieces = [piece for piece in re.split(r"\b[A-Z]+\b|\.\.\.", message) if piece.strip()]
    pattern = "[^\n]*".join(re.escape(piece) for piece in pieces).replace(r"\ ", r"\s")
    assert re.search(pattern, texts()), f"no message of the code reads like this: {message}"
