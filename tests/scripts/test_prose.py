"""Measurement of docstrings: found in all places, split into sentences, counted without code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prose.py"


@pytest.fixture(scope="module")
def prose() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("prose", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["prose"]


SOURCE = '''
"""Module summary. Second sentence (with a bracket, a comma)."""
LIMIT = 3
"""Largest number: of things."""

class Box:
    """What a box is."""

    size: int = 0
    """Edge in `units, of; things`."""

    def open(self):
        """Open it.

        Args:
            force: Newtons.

        Raises:
            UserError: the box is shut.
        """
        if True:
            "not a docstring"

    async def shut(self):
        "no end mark"
'''


def test_docstrings_of_all_places_are_found(prose: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(SOURCE)
    count, found = prose.sentences(tmp_path / "one.py")
    assert count == 6
    assert sorted((one.text, one.words, one.marks) for one in found) == [
        ("Edge in CODE.", 3, 0),
        ("Largest number: of things.", 4, 1),
        ("Module summary.", 2, 0),
        ("Newtons.", 1, 0),
        ("Open it.", 2, 0),
        ("Second sentence (with a bracket, a comma).", 7, 2),
        ("What a box is.", 4, 0),
        ("no end mark", 3, 0),
        ("the box is shut.", 4, 0),
    ]
    assert [one.text for one in found if one.banned] == ["What a box is."]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Take e.g. This one. vLLM is next. 16 bits", ["Take e.g This one.", "vLLM is next.", "16 bits"]),
        ("Use 1.5 of `a. B` here.\nAnd there.", ["Use 1.5 of CODE here.", "And there."]),
        ("Two kinds:\n- one\n- another,\n  longer\n\nEnd.", ["Two kinds:", "one", "another, longer", "End."]),
        ("Formula:\n\n    a = b. C\n    more\n\nEnd.", ["Formula:", "End."]),
        ("A table\n| a | b. C |\nof two", ["A table", "of two"]),
        ("Sum.\n\nParameters\n----------\nrecipe\n    A file.\n    Or a name.", ["Sum.", "A file.", "Or a name."]),
        ("Sum.\n\n```\na. B\n```\nEnd.", ["Sum.", "End."]),
        ("UserError: it is shut.", ["it is shut."]),
    ],
)
def test_sentences_are_those_of_the_prose(prose: ModuleType, text: str, parts: list[str]) -> None:
    assert [part for paragraph in prose.paragraphs(text) for part in prose.END.split(paragraph)] == parts


def test_a_limit_makes_the_exit_code(prose: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.py").write_text('"""One, two (three) four."""\n')
    assert prose.main([str(tmp_path)]) == 0
    assert prose.main([str(tmp_path), "--limit-words", "4", "--limit-marks", "2"]) == 0
    assert prose.main([str(tmp_path), "--limit-words", "3.9"]) == 1
    assert prose.main([str(tmp_path), "--limit-marks", "1.0", "--worst", "1"]) == 1
    assert f"{tmp_path / 'one.py'}:1: 4 words, 2 marks: One, two (three) four." in capsys.readouterr().out


def test_files_without_docstrings_are_within_every_limit(prose: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    assert prose.main([str(tmp_path), "--limit-words", "1"]) == 0
