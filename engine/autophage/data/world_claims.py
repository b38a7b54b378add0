"""Statements of a text about a world, each checked against the facts.

The reader inverts `world`. It searches a text for every phrasing of the world and compares the filled-in values with
the facts. It works on words, so any tokenizer's text can be read. Text that fits no phrasing makes no statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from autophage.data.world import OPTIONS, QUESTIONS, STATEMENTS, World

_NAME = r"(?P<n>[^\s.:?]+ [^\s.:?]+)"
_VALUE = r"(?P<v>[^\s.:?]+)"
_PUNCTUATION = frozenset(".:?")


@dataclass(frozen=True)
class Claim:
    """A statement found in a text: `attribute` of the person `subject` is `value`.

    Attributes:
        text: The statement as written.
        right: True if the world agrees. A statement about a person who does not exist is wrong.
    """

    text: str
    subject: str
    attribute: str
    value: str
    right: bool


class ClaimReader:
    """Finds statements about people of `world` in a text, and checks them against the facts."""

    def __init__(self, world: World) -> None:
        self._facts = {" ".join(person.name): person.facts for person in world.people}
        templates = [(name, one) for name, phrasings in STATEMENTS.items() for one in phrasings]
        templates += QUESTIONS.items()
        self._phrasings = [(attribute, re.compile(_pattern(template))) for attribute, template in templates]

    def claims(self, text: str) -> list[Claim]:
        """Return the checked statements of a text, in order of appearance. The list is empty without any."""
        found = sorted(self._matches(text), key=lambda match: match[1].start())
        return [self._claim(attribute, match) for attribute, match in found]

    def _matches(self, text: str) -> Iterator[tuple[str, re.Match[str]]]:
        for attribute, pattern in self._phrasings:
            for match in pattern.finditer(text):
                yield attribute, match

    def _claim(self, attribute: str, match: re.Match[str]) -> Claim:
        subject, value = match["n"], match["v"]
        facts = self._facts.get(subject, {})
        return Claim(match[0].strip(), subject, attribute, value, facts.get(attribute) == value)


def _pattern(template: str) -> str:
    """Return a regular expression that matches a template with any name as group `n` and any value as group `v`.

    Punctuation may touch the word before it, as detokenizers write it. A question may list options before its answer.
    """
    parts = []
    for word in template.split():
        if word == "Answer":
            parts.append(rf"(?:\s+{OPTIONS[0]}\s*{OPTIONS[1]}[^.?:]*)?")
        space = r"\s*" if word in _PUNCTUATION else r"\s+"
        parts.append(space * bool(parts) + {"{n}": _NAME, "{v}": _VALUE}.get(word, re.escape(word)))
    return r"(?<!\S)" + "".join(parts)
