"""Right answers by prompt from the user's file, and checks of samples against them.

The file has one JSON object per line: {"prompt": ..., "answer": ...}. A check compares the text word for word, or its
last number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from autophage.errors import UserError
from autophage.store.corpus import Sample

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
Checker = Callable[[Sample], bool | None]
"""A function from a sample to True if it is right, False if it is wrong, None if the check cannot decide."""


def read_answers(path: str) -> dict[str, str]:
    """Read a file of JSON lines and return a mapping from prompt to right answer. Blank lines are ignored.

    Raises:
        UserError: The file is unreadable, or a line has another form. The message gives the line number.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"answers = {path!r}: cannot be read ({error}).") from error
    answers = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers[str(row["prompt"]).strip()] = str(row["answer"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{path}:{number}: is not {{"prompt": ..., "answer": ...}} ({type(error).__name__}: {error}).'
            ) from error
    return answers


def exact_checker(answers: dict[str, str]) -> Checker:
    """Return a check that a sample's text equals the answer to its prompt. Case and runs of blanks do not count.

    The check cannot decide if `answers` lacks the prompt.
    """

    def is_right(sample: Sample) -> bool | None:
        answer = answers.get(sample.prompt.strip())
        return None if answer is None else _plain(sample.text) == _plain(answer)

    return is_right


def numeric_checker(answers: dict[str, str], tolerance: float) -> Checker:
    """Return a check that the last number in a sample equals the last number in the answer to its prompt.

    The error may be `tolerance` times the answer, or `tolerance` for answers below 1. The check cannot decide if
    `answers` lacks the prompt or its answer has no number.
    """

    def is_right(sample: Sample) -> bool | None:
        answer = _number(answers.get(sample.prompt.strip(), ""))
        if answer is None:
            return None
        given = _number(sample.text)
        return given is not None and abs(given - answer) <= tolerance * max(1.0, abs(answer))

    return is_right


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _number(text: str) -> float | None:
    """Return the last number in a text, or None without one. Commas may separate thousands."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
