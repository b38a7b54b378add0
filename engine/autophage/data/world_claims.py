"""What a document says about a world, statement by statement, and whether it is so.

The reverse of `world`: every phrasing that the world writes in is looked for in a text, and what stands in its places is
compared with the facts. Words only, so any tokenizer's text can be read. What fits no phrasing says nothing here.
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
    """`text` says that `attribute` of `subject` is `value`; `right` is whether the world has it so. Nobody is right about
    a person who is not there."""

    text: str
    subject: str
    attribute: str
    value: str
    right: bool


class ClaimReader:
    def __init__(self, world: World) -> None:
        self._facts = {" ".join(person.name): person.facts for person in world.people}
        templates = [(name, one) for name, phrasings in STATEMENTS.items() for one in phrasings]
        templates += QUESTIONS.items()
        self._phrasings = [(attribute, re.compile(_pattern(template))) for attribute, template in templates]

    def claims(self, text: str) -> list[Claim]:
        """The statements of a text, in the order in which they stand there."""
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
    """A template as a regular expression; marks may touch the word before them, as detokenizers write, and a question may
    list options before its answer."""
    parts = []
    for word in template.split():
        if word == "Answer":
            parts.append(rf"(?:\s+{OPTIONS[0]}\s*{OPTIONS[1]}[^.?:]*)?")
        space = r"\s*" if word in _PUNCTUATION else r"\s+"
        parts.append(space * bool(parts) + {"{n}": _NAME, "{v}": _VALUE}.get(word, re.escape(word)))
    return r"(?<!\S)" + "".join(parts)
