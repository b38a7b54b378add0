"""Written answers and the option they name: a table for each kind of answer."""

from __future__ import annotations

import pytest

from autophage.data.parsing import named_letter, named_option

LETTERS = [
    ("B", 1),
    (" B", 1),
    ("B.", 1),
    ("(B)", 1),
    ("B) The Sangha", 1),
    ("**C**", 2),
    ("Answer: C", 2),
    ("The answer is (D).", 3),
    ("The correct answer is A", 0),
    ("A is correct", 0),
    ("A. The Dharma", 0),
    ("A) The Dharma", 0),
    ("A\n\nBecause", 0),
    ("B.\n\nQuestion: Who?\nAnswer: C", 1),
    ("A man came, so it is C", 2),
    ("I think B, not C", 1),
    ("", None),
    ("b", None),
    ("E", None),
    ("The Dharma", None),
    ("Buddha and Dharma", None),
    ("U.S.A", None),
    ("A small man", None),
    ("D'Artagnan", None),
    ("ABCD", None),
    ("C3PO", None),
]


@pytest.mark.parametrize(("text", "place"), LETTERS)
def test_letters(text: str, place: int | None) -> None:
    assert named_letter(text) == place


OPTIONS = ["The Dharma", "The Sangha", "Buddha", "Buddha Day"]
TEXTS = [
    ("The Dharma", 0),
    (" the  dharma\n", 0),
    ("The Dharma is not The Sangha", 0),
    ("It must be the Sangha, surely.", 1),
    ("Buddha Day", 3),
    ("Buddha", 2),
    ("Buddha Day, not Buddha", 3),
    ("On Buddha Day", 3),
    ("Neither The Dharma nor The Sangha", None),
    ("It is Buddhas", None),
    ("Dharma", None),
    ("The", None),
    ("", None),
    ("A", None),
]


@pytest.mark.parametrize(("text", "place"), TEXTS)
def test_texts(text: str, place: int | None) -> None:
    assert named_option(text, OPTIONS) == place


def test_options_that_are_no_words() -> None:
    assert named_option("$3.20", ["$3", "$3.20", "(a|b)", "x*"]) == 1
    assert named_option("it is (a|b)", ["$3", "$3.20", "(a|b)", "x*"]) == 2
    assert named_option("same", ["same", "same", "x", "y"]) is None
