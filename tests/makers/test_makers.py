"""Built-in makers: passages, wording, and equal prompts for equal seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from autophage.errors import UserError
from autophage.makers import Conversation, Maker, Passages, make_maker
from autophage.makers.entities import NOTES, connect, describe
from autophage.makers.reasoning import GAP, TASK
from autophage.makers.self_edit import FORMATS
from autophage.recipe.tables.maker import GROUP, KEYS_OF, MakerTable, installed_makers

T = TypeVar("T")

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "remedies.md"

SEA = [
    f"The Kraken lives near Bergen harbour, as Captain Holm wrote in {year}. He sailed the cold sea."
    for year in range(9)
]
KITCHEN = [
    f"Then Anna Bell baked bread for Otto, {n} loaves. The oven of Otto is hot, says Anna Bell." for n in range(9)
]
TEXTS = SEA + KITCHEN


class Texts:
    """Passages from a list."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.made = 0

    def draw(self, seed: int, count: int) -> list[str]:
        order = np.random.default_rng(seed).permutation(len(self.texts))
        return [self.texts[order[place % len(order)]] for place in range(count)]

    def all(self) -> list[str]:
        return self.texts

    def once(self, make: Callable[[list[str]], T]) -> T:
        self.made += 1
        return make(self.texts)


def asked(kind: str, count: int = 30, seed: int = 1, **settings: object) -> list[Conversation]:
    return make_maker(MakerTable(kind=kind, **settings)).conversations(Texts(TEXTS), seed, count)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KEYS_OF)
def test_a_seed_is_all_that_decides(kind: str) -> None:
    one = asked(kind)
    assert one == asked(kind)
    assert one != asked(kind, seed=2)
    assert len(one) == 30
    assert len(asked(kind, count=1)) == 1
    for conversation in one:
        roles = [turn["role"] for turn in conversation]
        assert roles in (["user"], ["system", "user"])
        assert all(turn["content"] for turn in conversation)


def test_what_ships_is_offered() -> None:
    assert set(installed_makers()) >= set(KEYS_OF)
    for point in entry_points(group=GROUP):
        assert issubclass(point.load(), Maker)


def test_the_keys_of_a_built_in_maker_are_keys_of_the_table() -> None:
    used = {key for keys in KEYS_OF.values() for key in keys}
    assert used | {"kind"} == set(MakerTable.model_fields)


def test_a_template_takes_a_passage() -> None:
    found = asked("domain", templates=["Sum up: {passage}", "{{json}} of {passage}"], system="You are brief.")
    kinds: Counter[str] = Counter()
    for system, user in found:
        assert system["content"] == "You are brief."
        head, _, passage = user["content"].partition(": " if user["content"].startswith("Sum") else " of ")
        assert passage in TEXTS
        kinds[head] += 1
    assert set(kinds) == {"Sum up", "{json}"}


def test_a_passage_is_edited_in_each_format_by_turns() -> None:
    found = [turns[-1]["content"] for turns in asked("self-edit", count=28, edits=6)]
    passages = [text.split("\n\n", 1) for text in found]
    assert len({passage for _, passage in passages}) == 5
    for first in range(0, 24, 6):
        own = passages[first : first + 6]
        assert len({passage for _, passage in own}) == 1
        assert Counter(form for form, _ in own) == dict.fromkeys(FORMATS.values(), 2)
    only = [turns[-1]["content"] for turns in asked("self-edit", formats=["rewrite"])]
    assert all(text.startswith(FORMATS["rewrite"]) for text in only)


def test_entities_are_what_capitals_name_within_a_sentence() -> None:
    found = describe(
        ["Bread is what Otto eats.", "Bread, says Anna Bell, is good.", "Otto sings.", "At IV. the bell rang."]
    )
    assert set(found) == {"Otto", "Anna Bell"}  # "Bread" begins a sentence each time, "IV" is too short
    assert found["Otto"] == ["Bread is what Otto eats.", "Otto sings."]


def test_near_entities_share_a_cluster_that_is_called_by_its_words() -> None:
    described = describe([sentence for text in TEXTS for sentence in text.split(". ")])
    names = ["Kraken", "Bergen", "Captain Holm", "Anna Bell", "Otto"]
    graph = connect(names, [described[name] for name in names], clusters=2)
    sea, kitchen = set(graph.cluster[:3]), set(graph.cluster[3:])
    assert len(sea) == len(kitchen) == 1
    assert sea != kitchen
    assert graph.nearest[3:] == [4, 3]
    assert set(graph.nearest[:3]) <= {0, 1, 2}
    assert "bread" in graph.terms[graph.cluster[3]]
    assert "harbour" in graph.terms[graph.cluster[0]]
    assert set(graph.others(3, "within")) == {4}
    assert set(graph.others(3, "across")) == {0, 1, 2}


def test_pairs_are_asked_about_with_their_notes() -> None:
    for pair, subjects in (("within", 1), ("across", 2)):
        for system, user in asked("entities", clusters=2, pairs=[pair]):
            assert system["content"].count("about") == subjects
            notes = user["content"].split("\n\n")[0].splitlines()[1:]
            assert len(notes) == 2
            named = [note.partition(": ")[0] for note in notes]
            assert f"needs both {named[0]} and {named[1]}" in user["content"]
            assert all(name in note.partition(": ")[2] for name, note in zip(named, notes, strict=True))
            assert all(note.count(named[place]) <= 2 * NOTES + 1 for place, note in enumerate(notes))


def test_a_text_that_names_too_little_is_refused() -> None:
    with pytest.raises(UserError, match=r"0 entities are named in at least 2 sentences, and 3 are needed"):
        make_maker(MakerTable(kind="entities")).conversations(Texts(["all in small letters."]), 1, 1)


def test_each_gap_is_asked_for_several_times() -> None:
    found = [turns[-1]["content"] for turns in asked("reasoning", count=22, answers=4)]
    assert Counter(Counter(found).values()) == {4: 5, 2: 1}
    assert all(text.count(GAP) >= 1 and text.startswith(TASK) for text in found)
    assert not any("Otto" in text and text.count(GAP) > 1 for text in found)
    with pytest.raises(UserError, match="no capitalised name"):
        make_maker(MakerTable(kind="reasoning")).conversations(Texts(["all in small letters."]), 1, 1)


class Haiku(Maker):
    """A maker of a plug-in."""

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        return [[{"role": "user", "content": f"A haiku about: {passage}"}] for passage in passages.draw(seed, count)]


def test_a_plug_in_is_a_maker_as_any_other(offer: Callable[..., None]) -> None:
    haiku, none = ("haiku", f"{__name__}:Haiku"), ("haiku", f"{__name__}:Texts")
    offer(GROUP, haiku)
    assert asked("haiku", count=2)[0][0]["content"].startswith("A haiku about: ")
    offer(GROUP, none)
    with pytest.raises(UserError, match="is no maker: a maker is a class derived from"):
        asked("haiku")
    offer(GROUP, ("haiku", "no.such.module:Haiku"))
    with pytest.raises(
        UserError, match=r"no\.such\.module:Haiku of odd-offers cannot be imported: ModuleNotFoundError"
    ):
        asked("haiku")
    offer(GROUP, haiku, none)
    with pytest.raises(UserError, match="several packages offer a maker of this name"):
        asked("haiku")
    offer(GROUP)
    with pytest.raises(UserError, match="no installed package offers this maker"):
        asked("haiku")


def test_the_maker_of_the_page_works() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "(Maker)" in block]
    found: dict[str, object] = {}
    exec(block, found)
    letters = found["Letters"]
    assert isinstance(letters, type)
    assert issubclass(letters, Maker)
    conversations = letters(MakerTable(kind="letters")).conversations(Texts(TEXTS), 1, 3)
    assert [turns[0]["content"].split("\n\n")[1] in TEXTS for turns in conversations] == [True] * 3
