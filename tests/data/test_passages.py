"""Prompts of a maker as token ids. Passages are windows of the text, and prompts go through the chat template."""

from __future__ import annotations

from pathlib import Path

import pytest

from autophage.data.build import bind, prompt_style, read_source
from autophage.data.mix import pool_rows, prompt_ids
from autophage.data.text_source import TextSource
from autophage.data.tokens import byte_pair_tokenizer, decode
from autophage.errors import RunError, UserError
from autophage.makers import Conversation, Maker, Passages, make_maker
from autophage.makers.self_edit import FORMATS
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.maker import MakerTable
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.sample import MADE, SampleTable
from autophage.recipe.tables.source import SourceTable

TEXT = "".join(
    f"In year {n} the ship Argo of Captain Holm left Bergen with {n % 7} sailors. Anna waited.\n" for n in range(300)
)
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf-8")
    source = SourceTable(kind="text", path=str(path), block=16, continuation=24)
    return Recipe(name="t", source=source, sample=SampleTable(count=9), maker=MakerTable(kind="self-edit", edits=3))


def bound(recipe: Recipe, template: str | None = TEMPLATE, maker: Maker | None = None) -> TextSource:
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    tokenizer.chat_template = template
    if maker is None and recipe.has_maker:
        maker = make_maker(recipe.maker)
    source = bind(read_source(recipe), tokenizer, recipe, maker=maker)
    assert isinstance(source, TextSource)
    return source


def test_a_window_is_asked_about_through_the_template(recipe: Recipe) -> None:
    source = bound(recipe)
    assert prompt_style(recipe, source.tokenizer) == MADE
    asked = [decode(source.tokenizer, prompt) for prompt in prompt_ids(source, recipe, 0)]
    assert len(asked) == 9
    for text in asked:
        task, _, passage = text.removeprefix("<user>").removesuffix("<assistant>").partition("\n\n")
        assert task in FORMATS.values()
        assert passage in TEXT
    assert prompt_ids(source, recipe, 0) == prompt_ids(source, recipe, 0)
    assert prompt_ids(source, recipe, 1) != prompt_ids(source, recipe, 0)


def test_human_rows_are_those_of_an_arm_without_a_maker(recipe: Recipe) -> None:
    human = recipe.model_copy(update={"mix": MixTable(alpha=0.0)})
    alone = human.model_copy(update={"maker": MakerTable()})
    rows, plain = (pool_rows(bound(one), one, {0: []}) for one in (human, alone))
    assert [row.token_ids for row in rows] == [row.token_ids for row in plain]


def test_arms_with_and_without_a_maker_share_the_text(recipe: Recipe) -> None:
    source = bound(recipe)
    blocks = source.asked_by(recipe.model_copy(update={"maker": MakerTable()}), "blocks")
    assert len(blocks.prompts(1, 1)[0]) == 1 + 16
    assert len(source.prompts(1, 1)[0]) > 1 + 40


def test_a_model_that_cannot_be_asked_is_refused(recipe: Recipe) -> None:
    with pytest.raises(UserError, match=r"maker\.kind = 'self-edit' needs a chat template, and the model .* has none"):
        bound(recipe, template=None)


class Short(Maker):
    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        return []


def test_a_maker_that_asks_too_little_is_named(recipe: Recipe) -> None:
    with pytest.raises(RunError, match="'self-edit' wrote 0 prompts instead of 9"):
        prompt_ids(bound(recipe, maker=Short(recipe.maker)), recipe, 0)
