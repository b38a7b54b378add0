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
    """Label of a held-out token. In a world it is a template word, part of a name, or a fact. In a text it is TEXT."""

    TEXT = 0
    FORM = 1
    SUBJECT = 2
    FACT = 3


@dataclass(frozen=True)
class Item:
    """A human example as token ids: a prompt and its continuation. A complete continuation ends with the end token."""

    prompt_ids: list[int]
    continuation_ids: list[int]


@dataclass(frozen=True)
class HeldOut:
    """A human document as token ids that is never trained on.

    `roles[i]` labels `token_ids[i]`. The first `context` tokens are not scored.
    """

    token_ids: list[int]
    roles: list[Role]
    context: int = 1


@dataclass(frozen=True)
class Probe:
    """A question about a fact, as token ids, with the known answer.

    Attributes:
        fact: Name of the fact, equal in all formats. Probes of one fact are not independent.
        bucket: Frequency class of the fact's subject: "head", "torso" or "tail".
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
        """Token ids that open a document: the start token, or the end token for tokenizers without a start token."""
        ...

    def items(self, draw: int, count: int, rare: float = 1.0) -> list[Item]:
        """Return `count` human documents of the recipe's domain, drawn with the seed `draw`.

        Equal seeds give equal documents. Rare documents, as the source defines them, come `rare` times as often.
        """
        ...

    def prompts(self, draw: int, count: int) -> list[list[int]]:
        """Return `count` prompts for sampling as token ids, drawn with the seed `draw`."""
        ...

    def held_out(self) -> list[HeldOut]:
        """Return all human documents that are kept for measurement."""
        ...

    def reference(self, count: int) -> list[list[int]]:
        """Return at most `count` human training documents as token ids, without start and end tokens.

        All runs on one source get the same documents. Seed and prompts have no effect.
        """
        ...

    def probes(self, formats: list[str], people: int | None) -> list[Probe]:
        """Return questions with known answers about `people` of the source's persons, in each of `formats`.

        None asks about all persons. A source without known facts, such as a text, returns an empty list.
        """
        ...


def spread(ordered: Sequence[T], count: int) -> list[T]:
    """Return `count` elements of `ordered` at equal distances, so that every part keeps its share.

    A sequence of at most `count` elements is returned whole.
    """
    if count >= len(ordered):
        return list(ordered)
    return [ordered[index * len(ordered) // count] for index in range(count)]
