"""Annotations come from human beginnings, and are trained on and measured as part of the document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autophage.data.annotation import document_ids, prompt_and_text
from autophage.data.build import RawSource, bind, read_source
from autophage.data.mix import pool_rows, prompt_ids
from autophage.data.text_source import TextSource
from autophage.data.tokens import byte_pair_tokenizer, decode, word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.store import corpus

TEXT = "".join(f"Line {n} tells of number {n * n} and of the sea, twice over.\n" for n in range(400))
COUNT = 40


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=20, zipf=0.8, seed=0, held_out=5, choices=0.2)


def of_world(world: World, prompts: str) -> WorldSource:
    recipe = Recipe(name="t", sample=SampleTable(prompts=prompts))  # type: ignore[arg-type]
    source = bind(RawSource(world), word_tokenizer(world.vocabulary), recipe)
    assert isinstance(source, WorldSource)
    return source


@pytest.fixture
def text(tmp_path: Path) -> Recipe:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf-8")
    source = SourceTable(kind="text", path=str(path), block=16, continuation=8)
    return Recipe(name="t", source=source, sample=SampleTable(prompts="annotated", annotation=3, count=COUNT))


def sample(prompt: list[int], written: list[int]) -> corpus.Sample:
    values = np.zeros(len(written), dtype=np.float32)
    return corpus.Sample("id", "", "as it was", prompt, written, "stop", 0, values, values, values, values, values)


def test_a_world_is_begun_as_humans_begin_up_to_the_first_name(world: World) -> None:
    annotated, alone = of_world(world, "annotated"), of_world(world, "bos")
    names = {" ".join(person.name) for person in world.people}
    begun = annotated.items(3, 300)
    for item, whole in zip(begun, alone.items(3, 300), strict=True):
        assert item.prompt_ids + item.continuation_ids == whole.prompt_ids + whole.continuation_ids
        words = decode(annotated.tokenizer, item.prompt_ids, special=False).split()
        assert " ".join(words[-2:]) in names
        assert not any(" ".join(words[place : place + 2]) in names for place in range(len(words) - 2))
    assert annotated.prompts(3, 300) == [item.prompt_ids for item in begun]


def test_a_text_is_begun_by_the_first_tokens_of_what_follows_a_block(text: Recipe) -> None:
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    source = bind(read_source(text), tokenizer, text)
    assert isinstance(source, TextSource)
    alone = source.asked_by(text, "bos").items(1, COUNT)
    for item, whole in zip(source.items(1, COUNT), alone, strict=True):
        assert (len(item.prompt_ids), len(item.continuation_ids)) == (1 + 3, 8 - 3)
        assert item.prompt_ids[1:] + item.continuation_ids == whole.continuation_ids
    assert text.max_tokens == 5


@pytest.mark.parametrize("loss_on", ["continuation", "all", "completion"])
def test_a_row_is_the_whole_document(world: World, loss_on: str) -> None:
    source = of_world(world, "annotated")
    recipe = Recipe(
        name="t",
        sample=SampleTable(prompts="annotated", count=COUNT),
        mix=MixTable(alpha=0.5),
        train=TrainTable(loss_on=loss_on),  # type: ignore[arg-type]
    )
    prompts = prompt_ids(source, recipe, 0)
    rows = pool_rows(source, recipe, {0: [sample(prompt, [7, 8, 2]) for prompt in prompts]})
    for row, prompt in zip(rows[: COUNT // 2], prompts, strict=False):
        assert row.token_ids == [*prompt, 7, 8, 2]
        assert row.context == (len(prompt) if loss_on == "completion" else 1)
    humans = pool_rows(source, recipe.model_copy(update={"mix": MixTable(alpha=0.0)}), {0: []})
    alone = recipe.model_copy(update={"mix": MixTable(alpha=0.0), "sample": SampleTable(prompts="bos", count=COUNT)})
    same = pool_rows(of_world(world, "bos"), alone, {0: []})
    assert [row.token_ids for row in humans] == [row.token_ids for row in same]


def test_what_a_sample_says_begins_with_its_annotation(world: World) -> None:
    source = of_world(world, "annotated")
    tokenizer, start, end = source.tokenizer, source.start_ids, source.tokenizer.eos_token_id
    (prompt,) = source.prompts(1, 1)
    written = [*source.encode_word("works", first=False), end]
    annotated, plain = Recipe(name="t", sample=SampleTable(prompts="annotated")), Recipe(name="t")
    begun = decode(tokenizer, prompt, special=False)
    assert document_ids(start, prompt, written, annotated) == [*prompt[1:], *written]
    assert prompt_and_text(prompt, written, annotated, tokenizer) == ("<s>", f"{begun} works")
    assert document_ids(start, prompt, written, plain) == written
    assert prompt_and_text(prompt, written, plain, tokenizer) == (f"<s> {begun}", "works")
