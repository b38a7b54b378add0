"""Interface of every source of human data.

A source is bound to a tokenizer and yields token ids only. An `Item` pairs a prompt with its human continuation. A
model's sample has the same form as that continuation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeVar

T = TypeVar("T")


class Role(IntEnum):
    """Kind of a held-out token. Every token of an unlabelled text is TEXT."""

    TEXT = 0
    FORM = 1
    SUBJECT = 2
    FACT = 3


@dataclass(frozen=True)
class Item:
    """A prompt and its human continuation. A complete continuation ends with the end token."""

    prompt_ids: list[int]
    continuation_ids: list[int]


@dataclass(frozen=True)
class HeldOut:
    """A human document that is never trained on.

    `roles[i]` labels `token_ids[i]`. The first `context` tokens are not scored.
    """

    token_ids: list[int]
    roles: list[Role]
    context: int = 1


@dataclass(frozen=True)
class Probe:
    """A question with a known answer.

    Attributes:
        fact: Name of the fact, equal in all formats. Probes of one fact are not independent.
        valid_first: First tokens of every answer of the requested kind.
    """

    fact: str
    format: str
    bucket: str
    prompt_ids: list[int]
    answer_ids: list[int]
    valid_first: frozenset[int]


class Source(Protocol):
    """Human data as token ids. Every method is a pure function of the source and its arguments."""

    @property
    def start_ids(self) -> list[int]:
        """Opening of a document: the start token, or the end token for tokenizers without a start token."""
        ...

    def items(self, draw: int, count: int, rare: float = 1.0) -> list[Item]:
        """Return `count` items of the draw with seed `draw`. Equal seeds give equal items.

        Rare items, as the source defines them, come `rare` times as often.
        """
        ...

    def prompts(self, draw: int, count: int) -> list[list[int]]:
        """Return `count` prompts for sampling by the seed `draw`."""
        ...

    def held_out(self) -> list[HeldOut]: ...

    def reference(self, count: int) -> list[list[int]]:
        """Return at most `count` documents of the training text, without start and end tokens.

        All runs on one source get the same documents. Seed and prompts have no effect.
        """
        ...

    def probes(self, formats: list[str], people: int | None) -> list[Probe]:
        """Return questions about the source's facts. The list is empty if no fact is known."""
        ...


def spread(ordered: Sequence[T], count: int) -> list[T]:
    """Return `count` of `ordered` at equal distances, so that every part keeps its share.

    Shorter sequences are returned whole.
    """
    if count >= len(ordered):
        return list(ordered)
    return [ordered[index * len(ordered) // count] for index in range(count)]
