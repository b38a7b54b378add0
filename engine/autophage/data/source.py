"""What every source of human data offers, whatever it is made of.

A source is bound to a tokenizer: from here on everything is token ids. `Item` is one place where a human wrote and a
model could have: a prompt and its human continuation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeVar

T = TypeVar("T")


class Role(IntEnum):
    """What a held-out token belongs to. A text without labels is all TEXT."""

    TEXT = 0
    FORM = 1
    SUBJECT = 2
    FACT = 3


@dataclass(frozen=True)
class Item:
    """A prompt and what a human wrote after it; a complete continuation ends with the end token."""

    prompt_ids: list[int]
    continuation_ids: list[int]


@dataclass(frozen=True)
class HeldOut:
    """A human document that is never trained on. `roles[i]` labels `token_ids[i]`; the first `context` are not scored."""

    token_ids: list[int]
    roles: list[Role]
    context: int = 1


@dataclass(frozen=True)
class Probe:
    """A question with a known answer.

    `fact` names what is asked, in whatever format: probes of one fact are not independent. `valid_first` are the first
    tokens of every answer of the kind that was asked for.
    """

    fact: str
    format: str
    bucket: str
    prompt_ids: list[int]
    answer_ids: list[int]
    valid_first: frozenset[int]


class Source(Protocol):
    """Human data as token ids. All methods are pure functions of the source and their arguments."""

    @property
    def start_ids(self) -> list[int]:
        """What opens a document: the start token, or the end token for tokenizers that have no other."""
        ...

    def items(self, draw: int, count: int, rare: float = 1.0) -> list[Item]:
        """`count` items of the draw with seed `draw`: the same seed gives the same items.

        Items about the rare, as the source defines it, come `rare` times as often.
        """
        ...

    def prompts(self, draw: int, count: int) -> list[list[int]]:
        """`count` prompts for sampling, by the seed `draw`."""
        ...

    def held_out(self) -> list[HeldOut]: ...

    def reference(self, count: int) -> list[list[int]]:
        """At most `count` documents of the human text that may be trained on, without start and end tokens.

        The same in every run on one source, whatever its seed and its prompts.
        """
        ...

    def probes(self, formats: list[str], people: int | None) -> list[Probe]:
        """Questions about what the source says; empty where nothing is known about it."""
        ...


def spread(ordered: Sequence[T], count: int) -> list[T]:
    """`count` of `ordered` at equal distances, so that every part keeps its share; all of them where there are no more."""
    if count >= len(ordered):
        return list(ordered)
    return [ordered[index * len(ordered) // count] for index in range(count)]
