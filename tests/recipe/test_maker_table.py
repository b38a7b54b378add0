"""`[maker]`: conflicts, keys without effect, and messages about wrong values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.recipe import LoadedRecipe

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]
TEXT = 'name = "x"\nmodel.path = "a/b"\nsource.kind = "text"\nsource.path = "a.txt"\n'
MADE = TEXT + '[maker]\nkind = "{}"\n'


@pytest.mark.parametrize("kind", ["domain", "self-edit", "entities", "reasoning"])
def test_a_maker_is_chosen_by_its_kind(load: Load, kind: str) -> None:
    loaded = load(MADE.format(kind))
    assert loaded.recipe.has_maker
    assert loaded.recipe.samples_end
    assert loaded.warnings == []
    assert not load(MADE.format(kind), "sample.end=ignore").recipe.samples_end


def test_makers_can_be_swept(load: Load) -> None:
    loaded = load(TEXT + '[sweep]\n"maker.kind" = ["none", "self-edit"]\n', "control.enabled=false")
    assert [arm.name for arm in loaded.arms] == ["kind-none", "kind-self-edit"]
    assert [arm.recipe.has_maker for arm in loaded.arms] == [False, True]


def test_an_unknown_maker_is_told_with_what_was_meant(refuse: Refuse) -> None:
    message = refuse(MADE.format("selfedit"))
    assert message.startswith('demo.toml:6:8: maker.kind = "selfedit": no installed package offers this maker\n')
    assert 'did you mean "self-edit"?' in message
    assert "installed makers: none, domain, entities, reasoning, self-edit" in message


def test_a_maker_needs_a_text_and_a_model_that_is_asked(refuse: Refuse) -> None:
    assert 'needs passages of a text, but source.kind = "world" has none' in refuse(
        'name = "x"\nmodel.path = "a/b"\nmaker.kind = "domain"\n'
    )
    assert "needs a chat template, but a base model made from the source has none" in refuse(
        MADE.format("domain"), "model.path=from-source"
    )


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("no place", "has no field {passage}, so that every prompt would be the same"),
        ("{passage} and {other}", "has the field {other}; the only field is {passage}"),
        ("{passage.x}", "has the field {passage.x}; the only field is {passage}"),
        ("{passage", "not a template"),
    ],
)
def test_a_template_has_one_place(refuse: Refuse, template: str, wrong: str) -> None:
    message = refuse(MADE.format("domain") + f'templates = ["{template}"]\n')
    assert message.startswith("demo.toml:7:")
    assert wrong in message


@pytest.mark.parametrize(
    ("text", "override", "reason"),
    [
        (TEXT, "maker.edits=3", 'maker.kind is "none"'),
        (MADE.format("self-edit"), "maker.edits=3", None),
        (MADE.format("self-edit"), "maker.clusters=3", 'maker.kind is "self-edit"'),
        (MADE.format("entities"), "maker.clusters=3", None),
        (MADE.format("entities"), "maker.system=x", 'maker.kind is "entities"'),
        (MADE.format("domain"), "maker.system=x", None),
        (MADE.format("domain"), "sample.prompts=blocks", "a maker writes the prompts"),
        (MADE.format("domain"), "sample.system=x", "a maker writes the prompts"),
        (MADE.format("domain"), "sample.prompt_set=fixed", None),
        (MADE.format("domain"), "mix.domain=sea", None),
    ],
)
def test_a_key_without_effect_is_a_warning(load: Load, text: str, override: str, reason: str | None) -> None:
    key = override.partition("=")[0]
    expected = [] if reason is None else [f"--set {override}: {key} has no effect: {reason}"]
    assert load(text, override).warnings == expected
