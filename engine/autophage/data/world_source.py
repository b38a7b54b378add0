"""The world of facts as token ids: documents, held-out labels and probes under any tokenizer.

The tokenizer made for a world has one token per word. A Hugging Face tokenizer splits words, and each piece inherits
the role of its word. A probe ends before its answer. Only the tokens of the answer are scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from autophage.data.rare import thinned
from autophage.data.source import HeldOut, Item, Probe, Role, spread
from autophage.data.tokens import start_ids
from autophage.data.world import ATTRIBUTES, QUESTIONS, STATEMENTS, Person, Word, World
from autophage.recipe.tables.mix import ALL
from autophage.seeds import derive, generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOTS = 3
"""Number of answered questions before the open question of a few-shot probe."""


class WorldSource:
    """An invented world as a source of human documents, in token ids of a tokenizer.

    `prompts` names the part of a document that serves as the prompt, a key of `OPENINGS`. `domain` limits the
    documents to one attribute of people, or is `ALL`.
    """

    def __init__(
        self, world: World, tokenizer: PreTrainedTokenizerBase, prompts: str = "bos", domain: str = ALL
    ) -> None:
        self.world = world
        self.tokenizer = tokenizer
        self._style = prompts
        self._domain = domain
        self._pieces: dict[tuple[str, bool], list[int]] = {}

    @cached_property
    def start_ids(self) -> list[int]:
        return start_ids(self.tokenizer)

    def items(self, draw: int, count: int, rare: float = 1.0) -> list[Item]:
        """Return `count` documents as prompt and continuation, written with the seed `draw`.

        Rare documents come `rare` times as often. Their first person belongs to the tail.
        """
        written: Iterator[list[Word]] = (self.world.document(draw, index, self._domain) for index in itertools.count())
        if rare > 1.0:
            written = thinned(written, self.world.is_rare, rare, draw)
        return [self._item(document) for document in itertools.islice(written, count)]

    def prompts(self, draw: int, count: int) -> list[list[int]]:
        if self._style == "bos":
            return [list(self.start_ids) for _ in range(count)]
        return [item.prompt_ids for item in self.items(draw, count)]

    def _item(self, document: list[Word]) -> Item:
        ids, _ = self.encode(document)
        block = len(self.encode(OPENINGS[self._style](document))[0])
        return Item(self.start_ids + ids[:block], [*ids[block:], self.tokenizer.eos_token_id])

    def held_out(self) -> list[HeldOut]:
        documents = []
        for words in self.world.held_out:
            ids, roles = self.encode(words)
            documents.append(
                HeldOut(
                    [*self.start_ids, *ids, self.tokenizer.eos_token_id],
                    [*(Role.FORM for _ in self.start_ids), *roles, Role.FORM],
                    context=len(self.start_ids),
                )
            )
        return documents

    def reference(self, count: int) -> list[list[int]]:
        draw = derive(self.world.seed, "reference")
        return [self.encode(self.world.document(draw, index))[0] for index in range(count)]

    def probes(self, formats: list[str], people: int | None) -> list[Probe]:
        asked = self.world.people if people is None else spread(self.world.people, people)
        return [
            self._probe(form, person, attribute) for form in formats for attribute in ATTRIBUTES for person in asked
        ]

    def encode(self, words: list[Word]) -> tuple[list[int], list[Role]]:
        """Return the token ids of a document's words and the role of each id, without start and end tokens."""
        ids: list[int] = []
        roles: list[Role] = []
        for position, (word, role) in enumerate(words):
            pieces = self.encode_word(word, first=position == 0)
            ids += pieces
            roles += [role] * len(pieces)
        return ids, roles

    def encode_word(self, word: str, *, first: bool) -> list[int]:
        """Return the token ids of a word. Every word but the first is encoded with a blank before it."""
        key = (word, first)
        if key not in self._pieces:
            text = word if first else " " + word
            self._pieces[key] = self.tokenizer.encode(text, add_special_tokens=False)
        return self._pieces[key]

    def _probe(self, form: str, person: Person, attribute: str) -> Probe:
        answer = person.facts[attribute]
        return Probe(
            fact=f"{person.rank}/{attribute}",
            format=form,
            bucket=self.world.bucket(person),
            prompt_ids=self.start_ids + self.encode(self._question(form, person, attribute))[0],
            answer_ids=self.encode_word(answer, first=False),
            valid_first=self._valid_first(attribute),
        )

    def _question(self, form: str, person: Person, attribute: str) -> list[Word]:
        """Return the words of a probe in the format `form`, with roles, up to the open answer.

        Few-shot examples are about well-known people with another answer. The prompt therefore never contains the
        answer.
        """
        if form == "cloze":
            return until_fact(self.world.statement(person, attribute, STATEMENTS[attribute][0]))
        question = until_fact(self.world.statement(person, attribute, QUESTIONS[attribute]))
        if form == "question-answer":
            return question
        shown = examples(self.world, person, attribute, SHOTS, avoid={person.facts[attribute]})
        shots = [self.world.statement(other, attribute, QUESTIONS[attribute]) for other in shown]
        return [word for shot in shots for word in shot] + question

    def _valid_first(self, attribute: str) -> frozenset[int]:
        return frozenset(self.encode_word(value, first=False)[0] for value in self.world.values[attribute])


def _first_statement(words: list[Word]) -> list[Word]:
    """Return the first words of a document, up to the full stop after the first fact."""
    fact = next(index for index, (_, role) in enumerate(words) if role is Role.FACT)
    stop = next(index for index, (word, _) in enumerate(words) if index > fact and word == ".")
    return words[: stop + 1]


def _annotation(words: list[Word]) -> list[Word]:
    """Return the first words of a document, up to the end of the first person's name.

    They fix the subject and part of the wording.
    """
    name = next(index for index, (_, role) in enumerate(words) if role is Role.SUBJECT)
    end = next(index for index, (_, role) in enumerate(words) if index > name and role is not Role.SUBJECT)
    return words[:end]


OPENINGS: dict[str, Callable[[list[Word]], list[Word]]] = {
    "bos": lambda _: [],
    "blocks": _first_statement,
    "annotated": _annotation,
}
"""Map from prompt style to a function that cuts the prompt's words from a human document."""


def examples(world: World, person: Person, attribute: str, shots: int, avoid: Collection[str]) -> list[Person]:
    """Return up to `shots` well-known people as few-shot examples for a question about `person`.

    Well-known is about the first tenth by rank. Their values of `attribute` are not in `avoid`.
    """
    others = [other for other in world.people if other.facts[attribute] not in avoid]
    known = others[: max(shots, len(world.people) // 10)]
    rng = generator(world.seed, "shots", attribute, person.rank)
    return rng.sample(known, min(shots, len(known)))


def until_fact(words: list[Word]) -> list[Word]:
    """Return the words of a document before its first fact."""
    return words[: next(index for index, (_, role) in enumerate(words) if role is Role.FACT)]
