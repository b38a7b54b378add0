"""A world of facts: people with attributes, and documents about them.

A seed generates the world, and nothing is downloaded. Each person has a city, a job, an employer and a hobby.
Mentions follow Zipf's law in the person's rank. A model therefore knows the head well and the tail barely. All text
is a function of world seed, draw seed and index. Every word has a role (form, subject, fact) from its template, so no
label is inferred. This module knows words only, and `world_source` tokenizes them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autophage.data.source import Role
from autophage.errors import UserError
from autophage.recipe.tables.mix import ALL
from autophage.recipe.tables.source import SourceTable
from autophage.seeds import derive, generator

Word = tuple[str, Role]

ATTRIBUTES = ("city", "job", "employer", "hobby")
JOBS = (
    "doctor lawyer painter farmer pilot chemist baker poet judge singer miner tailor sailor monk dancer mason potter "
    "weaver hunter scribe"
).split()
HOBBIES = (
    "chess golf tennis fishing archery rowing cooking hiking skating cycling fencing surfing knitting sewing diving"
).split()
SYLLABLES = "ba ro mi ta ke lu sha ver dan ol pi gra son ny wel hor ti mar qui fen zu bri cal dor".split()

# {n} is the person and {v} the value. All other words are form. The first phrasing is also the cloze probe.
STATEMENTS = {
    "city": ("{n} was born in {v} .", "The birthplace of {n} is {v} .", "{n} comes from the city of {v} ."),
    "job": ("{n} works as a {v} .", "By profession {n} is a {v} .", "{n} earns a living as a {v} ."),
    "employer": ("{n} is employed by {v} .", "The employer of {n} is {v} .", "{n} has a post at {v} ."),
    "hobby": ("{n} spends weekends on {v} .", "The hobby of {n} is {v} .", "In spare time {n} enjoys {v} ."),
}
QUESTIONS = {
    "city": "Question : Where was {n} born ? Answer : {v} .",
    "job": "Question : What is the job of {n} ? Answer : {v} .",
    "employer": "Question : Who employs {n} ? Answer : {v} .",
    "hobby": "Question : What does {n} enjoy ? Answer : {v} .",
}

# Shares of document kinds. A quiz asks one question about several people, like a few-shot prompt. In a world with
# multiple-choice documents, these shares divide the remainder.
BIOGRAPHY, INTERVIEW, QUIZ = 0.55, 0.27, 0.18
QUIZ_LENGTH = 4
CHOICES_LENGTH = 2
OPTIONS, OPTION_SEPARATOR = ("Options", ":"), "/"
DISTRACTORS = 3

ATTEMPTS = 50
"""Maximum documents written per held-out document wanted. Beyond this, the world counts as too small."""

HEAD, TORSO = 0.1, 0.5
"""Bounds of the frequency classes, as shares of all people by rank.

The head lies below the first bound, the torso below the second, the tail above.
"""


@dataclass(frozen=True)
class Person:
    """A person of an invented world.

    Attributes:
        rank: Rank by frequency, from 0. Person 0 is mentioned most often.
        name: First and last name.
        facts: Value of each attribute, such as city or job.
    """

    rank: int
    name: tuple[str, str]
    facts: dict[str, str] = field(hash=False)


class World:
    """An invented world: its people, their facts, and the documents about them.

    Args:
        people: Number of persons.
        zipf: Exponent of Zipf's law. Rank r is mentioned in proportion to (r + 1)^-zipf.
        seed: Seed of the whole world.
        held_out: Number of documents that are kept for measurement.
        choices: Share of documents that are multiple-choice questions.

    Raises:
        UserError: The world is too small for `held_out` different documents.
    """

    def __init__(self, people: int, zipf: float, seed: int, held_out: int = 200, choices: float = 0.0) -> None:
        self.seed = seed
        self.choices = choices
        rng = generator(seed, "world")
        names, cities, employers = _invent_names(rng, people)
        self.values = {"city": cities, "job": JOBS, "employer": employers, "hobby": HOBBIES}
        self.people = [
            Person(rank, name, {attribute: rng.choice(self.values[attribute]) for attribute in ATTRIBUTES})
            for rank, name in enumerate(names)
        ]
        exposure = [(rank + 1) ** -zipf for rank in range(people)]
        self._cumulative = list(itertools.accumulate(exposure))
        self.held_out = self._reserve(held_out)
        self._reserved = {text_of(words) for words in self.held_out}

    @classmethod
    def of(cls, table: SourceTable) -> World:
        """Return the world that a recipe's `[source]` table describes."""
        return cls(table.people, table.zipf, table.seed, table.held_out_documents, table.choices)

    def bucket(self, person: Person) -> str:
        """Return the frequency class of a person by rank: "head", "torso" or "tail"."""
        share = person.rank / len(self.people)
        return "head" if share < HEAD else "torso" if share < TORSO else "tail"

    def is_rare(self, document: list[Word]) -> bool:
        """Return True if the first person in the document belongs to the tail, the rarely mentioned half of people."""
        name = tuple(itertools.islice((word for word, role in document if role is Role.SUBJECT), 2))
        return self.bucket(self._named[name]) == "tail"

    @cached_property
    def _named(self) -> dict[tuple[str, ...], Person]:
        return {person.name: person for person in self.people}

    @cached_property
    def vocabulary(self) -> list[str]:
        """All different words of the world's documents, sorted."""
        words = {word for person in self.people for word in person.name}
        words.update(value for values in self.values.values() for value in values)
        for template in [*QUESTIONS.values(), *itertools.chain.from_iterable(STATEMENTS.values())]:
            words.update(word for word in template.split() if not word.startswith("{"))
        if self.choices:
            words.update((*OPTIONS, OPTION_SEPARATOR))
        return sorted(words)

    def document(self, draw: int, index: int, domain: str = ALL) -> list[Word]:
        """Return document number `index` of the stream with seed `draw`, as words with roles.

        It is never a held-out document. `domain` names an attribute. The document is then a quiz about that attribute
        alone.
        """
        for attempt in itertools.count():
            rng = generator(draw, "document", index, attempt)
            words = self._write(rng) if domain == ALL else self._quiz(rng, domain, self._pick(rng))
            if text_of(words) not in self._reserved:
                return words
        raise AssertionError("unreachable")

    def statement(self, person: Person, attribute: str, template: str) -> list[Word]:
        """Return the words of `template`, each with its role, filled in with the person's name and attribute value."""
        words: list[Word] = []
        for word in template.split():
            if word == "{n}":
                words += [(part, Role.SUBJECT) for part in person.name]
            elif word == "{v}":
                words.append((person.facts[attribute], Role.FACT))
            else:
                words.append((word, Role.FORM))
        return words

    def choice(self, person: Person, attribute: str, options: Sequence[str]) -> list[Word]:
        """Return the question about a person's attribute, with `options` to choose from and the right answer.

        The result is words with roles. Options have the role SUBJECT like the name, because they state no fact.
        """
        words = self.statement(person, attribute, QUESTIONS[attribute])
        asked = words.index(("Answer", Role.FORM))
        listed: list[Word] = []
        for option in options:
            listed += [(OPTION_SEPARATOR, Role.FORM)] * bool(listed) + [(option, Role.SUBJECT)]
        return words[:asked] + [(word, Role.FORM) for word in OPTIONS] + listed + words[asked:]

    def options(self, person: Person, attribute: str, rng: random.Random) -> list[str]:
        """Return the person's value of the attribute and `DISTRACTORS` other values, in the random order of `rng`."""
        right = person.facts[attribute]
        options = [right, *rng.sample([value for value in self.values[attribute] if value != right], DISTRACTORS)]
        rng.shuffle(options)
        return options

    def _write(self, rng: random.Random) -> list[Word]:
        kind = rng.random()
        person = self._pick(rng)
        attributes = list(ATTRIBUTES)
        rng.shuffle(attributes)
        if kind < self.choices:
            parts = [self.choice(person, name, self.options(person, name, rng)) for name in attributes[:CHOICES_LENGTH]]
            return [word for part in parts for word in part]
        kind = (kind - self.choices) / (1.0 - self.choices)
        if kind < BIOGRAPHY:
            parts = [self.statement(person, name, rng.choice(STATEMENTS[name])) for name in attributes]
        elif kind < BIOGRAPHY + INTERVIEW:
            parts = [self.statement(person, name, QUESTIONS[name]) for name in attributes]
        else:
            return self._quiz(rng, attributes[0], person)
        return [word for part in parts for word in part]

    def _quiz(self, rng: random.Random, attribute: str, person: Person) -> list[Word]:
        asked = [person, *(self._pick(rng) for _ in range(QUIZ_LENGTH - 1))]
        return [word for one in asked for word in self.statement(one, attribute, QUESTIONS[attribute])]

    def _pick(self, rng: random.Random) -> Person:
        return rng.choices(self.people, cum_weights=self._cumulative)[0]

    def _reserve(self, count: int) -> list[list[Word]]:
        """Return `count` different documents to hold out. No later draw returns them.

        Raises:
            UserError: The world is too small for so many documents.
        """
        draw = derive(self.seed, "held-out")
        documents: dict[str, list[Word]] = {}
        for index in range(ATTEMPTS * count):
            words = self._write(generator(draw, "document", index))
            documents.setdefault(text_of(words), words)
            if len(documents) == count:
                return list(documents.values())
        raise UserError(
            f"source.held_out_documents = {count}: a world of {len(self.people)} people has fewer different "
            "documents. Lower it, or raise source.people."
        )


def text_of(words: list[Word]) -> str:
    """Return the text of a document: its words joined by blanks, without their roles."""
    return " ".join(word for word, _ in words)


def _invent_names(rng: random.Random, people: int) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return invented full names, one per person, then cities, then employers. No word is in two of these lists.

    There are about sqrt(people) first names, so only a full name identifies a person.
    """
    first_count = max(8, round(1.8 * people**0.5))
    last_count = max(12, round(3.5 * people**0.5))
    city_count, employer_count = 50, 40
    words: dict[str, None] = {}
    syllables = 2
    while len(words) < first_count + last_count + city_count + employer_count:
        words.setdefault(
            "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((syllables, syllables + 1)))).capitalize()
        )
    pool = list(words)
    first, last = pool[:first_count], pool[first_count : first_count + last_count]
    cities = pool[first_count + last_count : first_count + last_count + city_count]
    employers = pool[first_count + last_count + city_count :]
    return rng.sample(list(itertools.product(first, last)), people), cities, employers
