from __future__ import annotations

from pathlib import Path

import pytest

from autophage.data.build import RawSource, bind
from autophage.data.mix import human_items, pool_rows
from autophage.data.rare import rare_windows, thinned
from autophage.data.text_source import Text, TextSource
from autophage.data.tokens import byte_pair_tokenizer, word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.source import SourceTable

COUNT = 3000


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=60, zipf=0.8, seed=0, held_out=50)


@pytest.fixture(scope="module")
def source(world: World) -> WorldSource:
    return WorldSource(world, word_tokenizer(world.vocabulary))


def test_the_odds_of_the_rare_are_the_weight() -> None:
    kept = [one for one, _ in zip(thinned(range(10**6), lambda n: n % 10 == 0, 3.0, 7), range(20_000), strict=False)]
    share = sum(one % 10 == 0 for one in kept) / len(kept)
    assert share == pytest.approx(3 * 0.1 / (3 * 0.1 + 0.9), abs=0.01)
    assert kept == sorted(kept)
    assert all(n in kept for n in range(0, 1000, 10))


def test_documents_about_the_tail_come_more_often(world: World, source: WorldSource) -> None:
    def share(weight: float) -> float:
        starts = [str(source.tokenizer.decode(one.continuation_ids)) for one in source.items(3, COUNT, weight)]
        names = {" ".join(person.name): world.bucket(person) for person in world.people}
        first = [min((text.find(name), bucket) for name, bucket in names.items() if name in text)[1] for text in starts]
        return first.count("tail") / COUNT

    plain = share(1.0)
    assert share(4.0) == pytest.approx(4 * plain / (4 * plain + 1 - plain), abs=0.03)


def test_what_stays_keeps_its_order(source: WorldSource) -> None:
    plain, heavy = source.items(3, 400), source.items(3, 300, 2.0)
    following = iter(plain)
    assert all(one in following for one in heavy[:150])  # a subsequence
    assert source.items(3, 50, 2.0) == heavy[:50]
    assert source.items(4, 300, 2.0) != heavy


def windows_of(tmp_path: Path, domain: str = "all") -> tuple[TextSource, list[list[int]]]:
    text = "".join(
        f"The sea is wide and the sea is old, said the {'quaint albatross ' if n % 4 == 0 else ''}sailor of day {n}.\n"
        for n in range(600)
    )
    recipe = Recipe(
        name="t",
        source=SourceTable(kind="text", path=str(tmp_path), block=16, continuation=8),
        mix=MixTable(domain=domain),
        sample=SampleTable(prompts="blocks"),
    )
    source = bind(RawSource(Text(text, text)), byte_pair_tokenizer([text], 400), recipe)
    assert isinstance(source, TextSource)
    return source, source._own


def test_windows_with_rare_tokens_come_more_often(tmp_path: Path) -> None:
    source, windows = windows_of(tmp_path)
    rare = {tuple(windows[place]) for place in rare_windows(windows)}
    assert len(rare_windows(windows)) == round(len(windows) / 4)

    def share(weight: float) -> float:
        drawn = [tuple(one.prompt_ids[1:] + one.continuation_ids) for one in source.items(5, COUNT, weight)]
        return sum(window in rare for window in drawn) / COUNT

    plain = share(1.0)
    assert share(3.0) == pytest.approx(3 * plain / (3 * plain + 1 - plain), abs=0.03)


def test_rare_windows_are_those_with_the_tokens_of_the_rarest_tenth() -> None:
    common = [[1, 1, 1, 2, 2]] * 6
    assert rare_windows([*common, [1, 1, 9, 8, 2], [1, 1, 1, 1, 7]]) == {6, 7}
    assert rare_windows([[1, 1], [1, 1], [1, 1], [1, 1]]) == {0}


@pytest.mark.parametrize("human", ["fresh", "fixed"])
def test_the_weight_reaches_every_human_row_of_a_mix_and_only_those(source: WorldSource, human: str) -> None:
    def recipe(rare: float) -> Recipe:
        mix = MixTable(alpha=0.0, human=human, pool="accumulate", rare=rare)  # type: ignore[arg-type]
        return Recipe(name="t", sample=SampleTable(count=40), mix=mix)

    plain, heavy = (pool_rows(source, recipe(weight), {0: [], 1: []}) for weight in (1.0, 5.0))
    assert len(plain) == len(heavy) == 120
    for start in (0, 40, 80):
        assert plain[start : start + 40] != heavy[start : start + 40]
    same = human_items(source, recipe(5.0), 0, 40) == human_items(source, recipe(5.0), 1, 40)
    assert same == (human == "fixed")


@pytest.mark.parametrize("prompts", ["bos", "blocks", "annotated"])
def test_what_is_given_of_a_world_does_not_change_which_documents_are_drawn(world: World, prompts: str) -> None:
    source = WorldSource(world, word_tokenizer(world.vocabulary), prompts)
    plain = WorldSource(world, source.tokenizer)
    assert [one.prompt_ids + one.continuation_ids for one in source.items(3, 50, 4.0)] == [
        one.prompt_ids + one.continuation_ids for one in plain.items(3, 50, 4.0)
    ]
    # Prompts are about what humans write about, not about the rare.
    given = [one.prompt_ids for one in source.items(3, 50)]
    assert source.prompts(3, 50) == given


def test_annotations_begin_the_windows_that_are_drawn(tmp_path: Path) -> None:
    source, _ = windows_of(tmp_path)
    recipe = Recipe(
        name="t",
        source=SourceTable(kind="text", path=str(tmp_path), block=16, continuation=8),
        sample=SampleTable(prompts="annotated", annotation=3),
    )
    annotated = source.asked_by(recipe, "annotated")
    start = source.start_ids
    whole = [one.prompt_ids[len(start) :] + one.continuation_ids for one in annotated.items(5, 200, 3.0)]
    assert whole == [one.continuation_ids for one in source.items(5, 200, 3.0)]
