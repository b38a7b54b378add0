"""Generated pages name every key, gate, verb and column. The built site makes no requests to other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from autophage.cli.app import VERBS
from autophage.recipe.keys import KEYS
from autophage.recipe.tables.gate import installed_gates

ROOT = Path(__file__).parents[2]
GENERATORS = ROOT / "docs" / "generate"
OUTSIDE = re.compile(
    r'<(?:script|img|iframe|source)[^>]+src="?https?:|<link[^>]+rel="?(?:stylesheet|preload)[^>]+href="?https?:'
)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(GENERATORS))
    return import_module


def test_every_key_has_an_entry(generator: Callable[[str], ModuleType]) -> None:
    text = generator("recipe_reference").tables()
    assert [key for key in KEYS if f"{{ #{key} }}" not in text] == []


def test_every_gate_has_a_section(generator: Callable[[str], ModuleType]) -> None:
    text = generator("gate_reference").kinds()
    assert [kind for kind in installed_gates() if f"## {kind}\n" not in text] == []


def test_every_verb_has_a_section(generator: Callable[[str], ModuleType]) -> None:
    text = generator("command_line").verbs()
    assert [verb for verb in VERBS if f"## {verb}\n" not in text] == []


def test_every_column_is_described(generator: Callable[[str], ModuleType]) -> None:
    columns = generator("column_reference")
    assert "`ppl_under_base`" in columns.corpus_columns()
    for name in ("metrics", "answers", "training", "numbers", "broken"):
        assert getattr(columns, f"{name}_columns")().startswith("| column |")


@pytest.mark.thorough
def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    assert [str(page) for page in pages if OUTSIDE.search(page.read_text("utf-8"))] == []
    styles = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.css"))
    assert not re.search(r"url\(\s*[\"']?https?:|@import", styles)
