"""The human data of a recipe's `[source]`.

`RawSource` is the source before tokenization. It makes the tokenizer and the training rows of a base model. `bind`
adds the tokenizer of the model under study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autophage.data.passages import PromptMaker
from autophage.data.source import Source
from autophage.data.text_source import Text, TextSource, read_text
from autophage.data.tokens import byte_pair_tokenizer, control_words, word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.sample import MADE
from autophage.seeds import derive, generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CONTROL_WORDS_SHOWN = 4
"""Names of control tokens in a text that a message shows."""


@dataclass(frozen=True)
class RawSource:
    """The human data of a recipe, read and checked but not tokenized: a world of facts or a text."""

    content: World | Text

    @property
    def digest(self) -> str:
        """SHA-256 of the human data, in hexadecimal. Equal digests mean equal documents."""
        if isinstance(self.content, World):
            sample = [self.content.document(0, index) for index in range(100)]
            text = repr((self.content.vocabulary, self.content.held_out, sample))
        else:
            text = self.content.train + "\0" + self.content.held_out
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user about what was read and what was left out."""
        return () if isinstance(self.content, World) else self.content.notes

    def control_words(self, tokens: Iterable[str]) -> list[str]:
        """Return a message for the user that counts the strings of a text that name one of the special tokens `tokens`."""
        if isinstance(self.content, World):
            return []
        found = control_words(tokens, [self.content.train, self.content.held_out])
        if not found:
            return []
        shown = ", ".join(f"{word} {count:,} times" for word, count in found.most_common(CONTROL_WORDS_SHOWN))
        more = ", ..." if len(found) > CONTROL_WORDS_SHOWN else ""
        return [f"source.path: names control tokens of the tokenizer, which are read as plain text: {shown}{more}"]

    def make_tokenizer(self, recipe: Recipe) -> PreTrainedTokenizerBase:
        """Return a new tokenizer for this data: one token per word of a world, or byte-level BPE for a text.

        BPE is trained on the training part only. It has at most `base.vocabulary` entries.
        """
        if isinstance(self.content, World):
            return word_tokenizer(self.content.vocabulary)
        return byte_pair_tokenizer(self.content.train.splitlines(keepends=True), recipe.base.vocabulary)

    def rows(self, tokenizer: PreTrainedTokenizerBase, length: int, seed: int) -> Iterator[list[int]]:
        """Yield training rows for a base model without end. A row has `length` token ids.

        In a world a row holds consecutive documents with their start and end tokens. In a text a row is the start
        token and a window at a random offset.

        Raises:
            UserError: The text has fewer than `length` tokens.
        """
        if isinstance(self.content, World):
            yield from self._world_rows(WorldSource(self.content, tokenizer), length, seed)
        else:
            yield from self._text_rows(tokenizer, length, seed)

    def _world_rows(self, source: WorldSource, length: int, seed: int) -> Iterator[list[int]]:
        draw = derive(seed, "base")
        index = 0
        while True:
            row: list[int] = []
            while len(row) < length:
                item = source.items(derive(draw, "row", index), 1)[0]
                row += item.prompt_ids + item.continuation_ids
                index += 1
            yield row[:length]

    def _text_rows(self, tokenizer: PreTrainedTokenizerBase, length: int, seed: int) -> Iterator[list[int]]:
        """Yield windows of the text at random offsets, as token ids.

        Each opens with the start token, as samples and measured windows do.
        """
        assert isinstance(self.content, Text)
        ids = tokenizer.encode(self.content.train, add_special_tokens=False)
        if len(ids) < length:
            raise UserError(
                f"source.path: {len(ids)} tokens of training text, but base.length is {length}. Give more text."
            )
        rng = generator(seed, "base", "offsets")
        while True:
            start = rng.randrange(len(ids) - length + 2)
            yield [tokenizer.bos_token_id, *ids[start : start + length - 1]]


def read_source(recipe: Recipe) -> RawSource:
    """Read the human data that the `[source]` table of `recipe` names.

    Raises:
        UserError: The data cannot be read.
    """
    if recipe.source.kind == "world":
        return RawSource(World.of(recipe.source))
    return RawSource(read_text(recipe.source))


def prompt_style(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the style of the recipe's prompts, such as "bos", "blocks" or "instruct".

    `sample.prompts = "auto"` is resolved for the source and the tokenizer. The style is `MADE` if a maker writes the
    prompts.

    Raises:
        UserError: The style needs a chat template, and the model has none.
    """
    style = MADE if recipe.has_maker else recipe.sample.prompts
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if style == MADE and not has_template:
        raise UserError(
            f"maker.kind = {recipe.maker.kind!r} needs a chat template, and the model {recipe.model.path!r} has none. "
            "Name an instruction-tuned model: model.path."
        )
    if style == "instruct" and not has_template:
        raise UserError(
            f'sample.prompts = "instruct": the model {recipe.model.path!r} has no chat template. '
            'Use prompts = "blocks", or an instruction-tuned model.'
        )
    if style != "auto":
        return style
    if recipe.source.kind == "world":
        return "bos"
    return "instruct" if has_template else "blocks"


def bind(
    raw: RawSource,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    *,
    maker: PromptMaker | None = None,
    earlier: Source | None = None,
) -> Source:
    """Return the human data `raw` as a source of token ids of `tokenizer`.

    Prompts and domain are those of `recipe`. `maker` writes the prompts of a recipe with a `[maker]`. `earlier` is
    the same data bound for another arm. Its tokenized text is then reused.

    Raises:
        UserError: The data does not suit the recipe, as with too short a text.
    """
    style = prompt_style(recipe, tokenizer)
    if isinstance(earlier, TextSource):
        return earlier.asked_by(recipe, style, maker)
    if isinstance(raw.content, World):
        return WorldSource(raw.content, tokenizer, style, recipe.mix.domain)
    return TextSource(raw.content, tokenizer, recipe, style, maker)
