"""Human text for the n-gram learner: documents as word ids, from the built-in world or from a text.

Blanks separate words. A document of a world is one of its texts. A document of any other text is a non-empty line.
Longer documents are cut, human and synthetic alike, and a cut document has no end. Id 0 opens a document and id 1
ends it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autophage.data.build import read_source
from autophage.data.source import HeldOut, Role, spread
from autophage.data.text_source import Text
from autophage.data.world import Word, World
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.seeds import derive

START, END = 0, 1
SPECIAL = ("<s>", "</s>")
LONGEST = 64
"""Maximum words of a document if `sample.max_tokens` is not set. The documents of a world are shorter."""


@dataclass(frozen=True)
class EncodedDocument:
    """A document as word ids. A `complete` document ends with `END`, and any other was cut."""

    token_ids: tuple[int, ...]
    complete: bool

    @property
    def words(self) -> tuple[int, ...]:
        """Ids of the document's words, without `END`."""
        return self.token_ids[:-1] if self.complete else self.token_ids


class Words(ABC):
    """Human documents as word ids, under the vocabulary of their source.

    `known` are the words of the vocabulary. Documents are cut after `longest` words.
    """

    def __init__(self, digest: str, known: Iterable[str], longest: int) -> None:
        self.digest = digest
        self.vocabulary = [*SPECIAL, *known]
        """All words, with START and END first. The index of a word is its id.

        A held-out word outside the training text has no id.
        """
        self._ids = {word: place for place, word in enumerate(self.vocabulary)}
        self._longest = longest

    @abstractmethod
    def documents(self, draw: int, count: int) -> list[EncodedDocument]:
        """Return `count` human training documents, drawn with the seed `draw`. Equal seeds give equal documents."""

    @abstractmethod
    def reference(self, count: int) -> list[EncodedDocument]:
        """Return at most `count` human training documents, in which words are counted to define rare ones.

        All runs on one source get the same ones.
        """

    @abstractmethod
    def _held_out_words(self) -> list[list[Word]]: ...

    def held_out(self, count: int) -> list[HeldOut]:
        """Return at most `count` human documents that no draw returns, for measurement.

        Words without an id get one beyond the vocabulary.
        """
        return [self._held_out(words) for words in spread(self._held_out_words(), count)]

    def text(self, ids: Sequence[int]) -> str:
        """Return the words with these ids, joined by blanks."""
        return " ".join(self.vocabulary[one] for one in ids)

    def _held_out(self, words: list[Word]) -> HeldOut:
        unknown = len(self.vocabulary)
        ids = [self._ids.get(word, unknown) for word, _ in words]
        edge = Role.TEXT if words[0][1] is Role.TEXT else Role.FORM
        return HeldOut([START, *ids, END], [edge, *(role for _, role in words), edge])

    def _document(self, words: Sequence[str]) -> EncodedDocument:
        ids = tuple(self._ids[word] for word in words[: self._longest])
        return EncodedDocument((*ids, END), True) if len(words) <= self._longest else EncodedDocument(ids, False)


class WorldWords(Words):
    """Documents of an invented world as word ids."""

    def __init__(self, world: World, digest: str, longest: int) -> None:
        super().__init__(digest, world.vocabulary, longest)
        self._world = world

    def documents(self, draw: int, count: int) -> list[EncodedDocument]:
        return [self._document([word for word, _ in self._world.document(draw, index)]) for index in range(count)]

    def reference(self, count: int) -> list[EncodedDocument]:
        return self.documents(derive(self._world.seed, "reference"), count)

    def _held_out_words(self) -> list[list[Word]]:
        return self._world.held_out


class TextWords(Words):
    """Lines of a text as documents of word ids. A draw uses every line once before any repeats.

    Raises:
        UserError: The training part or the held-out part has no line with words.
    """

    def __init__(self, text: Text, digest: str, longest: int) -> None:
        self._lines, self._ends = _lines(text.train), _lines(text.held_out)
        if not self._lines or not self._ends:
            raise UserError(
                f"source.path: training part and held-out part each need a line with words. They have "
                f"{len(self._lines)} and {len(self._ends)} such lines. Give more text."
            )
        super().__init__(digest, sorted({word for line in self._lines for word in line}), longest)

    def documents(self, draw: int, count: int) -> list[EncodedDocument]:
        rng = np.random.default_rng(draw)
        rounds = [rng.permutation(len(self._lines)) for _ in range(-(-count // len(self._lines)))]
        return [self._document(self._lines[place]) for place in np.concatenate(rounds)[:count]]

    def reference(self, count: int) -> list[EncodedDocument]:
        return [self._document(line) for line in spread(self._lines, count)]

    def _held_out_words(self) -> list[list[Word]]:
        return [[(word, Role.TEXT) for word in line] for line in self._ends]


def words_of(recipe: Recipe) -> Words:
    """Read the source of a recipe and return its human documents as word ids.

    Raises:
        UserError: The source cannot be read.
    """
    raw = read_source(recipe)
    if isinstance(raw.content, World):
        return WorldWords(raw.content, raw.digest, longest(recipe))
    return TextWords(raw.content, raw.digest, longest(recipe))


def longest(recipe: Recipe) -> int:
    """Return the maximum number of words in a document: `sample.max_tokens` if it is set, or else `LONGEST`."""
    return LONGEST if recipe.sample.max_tokens is None else recipe.sample.max_tokens


def _lines(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := line.split())]
