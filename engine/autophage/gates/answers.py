"""Right answers from a file, prompt by prompt, and samples that are held to them: word for word, or by their last number.

The file is the user's own and has a JSON object a line, {"prompt": ..., "answer": ...}.
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
"""Whether a sample is right; None where that cannot be told."""


def read_answers(path: str) -> dict[str, str]:
    """Prompt -> answer, of a file with a JSON object a line.

    Raises:
        UserError: it cannot be read, or a line is something else, by its number.
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
                f'{path}:{number}: is no {{"prompt": ..., "answer": ...}} ({type(error).__name__}: {error}).'
            ) from error
    return answers


def exact_checker(answers: dict[str, str]) -> Checker:
    def is_right(sample: Sample) -> bool | None:
        answer = answers.get(sample.prompt.strip())
        return None if answer is None else _plain(sample.text) == _plain(answer)

    return is_right


def numeric_checker(answers: dict[str, str], tolerance: float) -> Checker:
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
    """The last number of a text, which may have commas between its thousands."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
