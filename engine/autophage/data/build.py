"""The human data of a recipe's `[source]`.

`RawSource` is the source before tokenization. It makes the tokenizer and the training rows of a base model. `bind`
adds the tokenizer of the model under study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autophage.data.passages import PromptMaker
from autophage.data.source import Source
from autophage.data.text_source import Text, TextSource, read_text
from autophage.data.tokens import byte_pair_tokenizer, word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.sample import MADE
from autophage.seeds import derive, generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RawSource:
    """A world or a text that has been read and checked. It is not tokenized."""

    content: World | Text

    @property
    def digest(self) -> str:
        """SHA-256 of the human data. Equal digests mean equal documents."""
        if isinstance(self.content, World):
            sample = [self.content.document(0, index) for index in range(100)]
            text = repr((self.content.vocabulary, self.content.held_out, sample))
        else:
            text = self.content.train + "\0" + self.content.held_out
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def make_tokenizer(self, recipe: Recipe) -> PreTrainedTokenizerBase:
        """Return a tokenizer of the source's own, trained on the training part only."""
        if isinstance(self.content, World):
            return word_tokenizer(self.content.vocabulary)
        return byte_pair_tokenizer(self.content.train.splitlines(keepends=True), recipe.base.vocabulary)

    def rows(self, tokenizer: PreTrainedTokenizerBase, length: int, seed: int) -> Iterator[list[int]]:
        """Yield training rows for a base model without end.

        A row is `length` tokens of consecutive documents, each from its start token to its end token.
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
        """Yield windows at random offsets. Each opens with the start token, as samples and measured windows do."""
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
    """Read the source of `recipe`.

    Raises:
        UserError: The source cannot be read.
    """
    if recipe.source.kind == "world":
        return RawSource(World.of(recipe.source))
    return RawSource(read_text(recipe.source))


def prompt_style(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str:
    """Resolve `sample.prompts = "auto"` for this source and model.

    The style is `MADE` where a maker writes the prompts.

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
    """Return the source as token ids of `tokenizer`, with the prompts and the domain of `recipe`.

    `maker` writes the prompts of a recipe with a `[maker]`. `earlier` is the same source bound for another arm. Its
    tokenized text is then reused.
    """
    style = prompt_style(recipe, tokenizer)
    if isinstance(earlier, TextSource):
        return earlier.asked_by(recipe, style, maker)
    if isinstance(raw.content, World):
        return WorldSource(raw.content, tokenizer, style, recipe.mix.domain)
    return TextSource(raw.content, tokenizer, recipe, style, maker)
