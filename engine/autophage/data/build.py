"""From a recipe's `[source]` to human data: what the base model learns from, and the source bound to a tokenizer.

`RawSource` is the source before any tokenizer: it can make the tokenizer and the training rows of a base model, and it
has a digest that names its content. `bind` joins it with the tokenizer of the model that is studied.
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
    """A world or a text, read and checked, not tokenized."""

    content: World | Text

    @property
    def digest(self) -> str:
        """Names the human data: equal digests mean equal documents."""
        if isinstance(self.content, World):
            sample = [self.content.document(0, index) for index in range(100)]
            text = repr((self.content.vocabulary, self.content.held_out, sample))
        else:
            text = self.content.train + "\0" + self.content.held_out
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def make_tokenizer(self, recipe: Recipe) -> PreTrainedTokenizerBase:
        """A tokenizer of the source's own, trained on its training part only."""
        if isinstance(self.content, World):
            return word_tokenizer(self.content.vocabulary)
        return byte_pair_tokenizer(self.content.train.splitlines(keepends=True), recipe.base.vocabulary)

    def rows(self, tokenizer: PreTrainedTokenizerBase, length: int, seed: int) -> Iterator[list[int]]:
        """Endless training rows of `length` tokens for a base model: documents one after the other, start to end token."""
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
        """Windows at random offsets, each opened by the start token, as samples and measured windows are."""
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
    """Read the source of `recipe`, or say what is wrong with it (`UserError`)."""
    if recipe.source.kind == "world":
        return RawSource(World.of(recipe.source))
    return RawSource(read_text(recipe.source))


def prompt_style(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str:
    """What `sample.prompts = "auto"` means for this source and model; `MADE` where a maker writes the prompts."""
    style = MADE if recipe.has_maker else recipe.sample.prompts
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if style == MADE and not has_template:
        raise UserError(
            f"maker.kind = {recipe.maker.kind!r} asks through a chat template, and the model {recipe.model.path!r} has none. "
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
    """The source as token ids of `tokenizer`, with the prompts and the domain that `recipe` asks for.

    `earlier` is the same source bound for another arm: a long text is then not tokenized again.
    """
    style = prompt_style(recipe, tokenizer)
    if isinstance(earlier, TextSource):
        return earlier.asked_by(recipe, style, maker)
    if isinstance(raw.content, World):
        return WorldSource(raw.content, tokenizer, style, recipe.mix.domain)
    return TextSource(raw.content, tokenizer, recipe, style, maker)
