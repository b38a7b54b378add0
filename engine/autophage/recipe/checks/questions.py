"""Conflicts between questions, source and model. Each check returns a conflict or None."""

from __future__ import annotations

from autophage.recipe.checks.conflict import Conflict
from autophage.recipe.keys import KEYS
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.questions import OPEN_FORMATS


def mmlu_without_path(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "mmlu" or recipe.questions.path is not None:
        return None
    remedy = 'give questions.path, for example: path = "mmlu/" or "tasksource/mmlu" under [questions]'
    wrong = 'questions.kind = "mmlu" needs questions.path'
    return Conflict(("questions.kind", "questions.path"), wrong, (remedy, str(KEYS["questions.path"])))


def world_questions_without_world(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "world" or recipe.source.kind == "world":
        return None
    wrong = f'questions.kind = "world" needs a world, but source.kind = {toml_value(recipe.source.kind)} has none'
    return Conflict(("questions.kind", "source.kind"), wrong, ('write kind = "mmlu", or source.kind = "world"',))


def options_not_in_world(recipe: Recipe) -> Conflict | None:
    questions, source = recipe.questions, recipe.source
    if questions.kind != "world" or "multiple-choice" not in questions.formats or source.choices > 0:
        return None
    if recipe.model.path != FROM_SOURCE:
        return None
    wrong = "the format multiple-choice lists options, but no document of this world does (source.choices = 0)"
    others = [form for form in questions.formats if form != "multiple-choice"]
    remedies = [
        "write source.choices = 0.2, so that the base model learns the form",
        *([f"or leave it out: questions.formats = {toml_value(others)}"] if others else []),
        str(KEYS["source.choices"]),
    ]
    return Conflict(("questions.formats", "questions.kind", "source.choices"), wrong, tuple(remedies))


def places_beside_a_world(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "places" or recipe.source.kind != "world":
        return None
    wrong = (
        'questions.kind = "places" measures knowledge of places, but source.kind = "world" measures that of its people'
    )
    remedies = ('write kind = "world", or train on a text: source.kind = "text"',)
    return Conflict(("questions.kind", "source.kind"), wrong, remedies)


def open_format_without_places(recipe: Recipe) -> Conflict | None:
    questions = recipe.questions
    found = [form for form in questions.formats if form in OPEN_FORMATS]
    if not found or questions.kind in ("none", "places"):
        return None
    wrong = f'the format {found[0]} lists no options, which only questions.kind = "places" can ask'
    others = [form for form in questions.formats if form not in OPEN_FORMATS]
    remedies = (f"leave it out: questions.formats = {toml_value(others or ['no-instruction'])}",)
    return Conflict(("questions.formats", "questions.kind"), wrong, remedies)


def mmlu_not_readable(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind not in ("mmlu", "places") or recipe.model.path != FROM_SOURCE:
        return None
    if recipe.source.kind == "world":
        if recipe.questions.kind == "places":
            return None  # `places_beside_a_world` tells it
        wrong = (
            'questions.kind = "mmlu" needs a model of English, but a base model made from a world knows only its words'
        )
        remedies = ('write kind = "world", or name a model in model.path',)
        return Conflict(("questions.kind", "model.path"), wrong, remedies)
    if recipe.questions.chat is not True:
        return None
    wrong = "questions.chat = true needs a chat template, but a base model made from the source has none"
    return Conflict(
        ("questions.chat", "model.path"), wrong, ('write chat = "auto" or false, or name a model in model.path',)
    )
