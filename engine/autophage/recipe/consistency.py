"""Conflicts between values of a recipe. Each value is valid alone by the time this runs.

Every arm is checked, because a sweep may combine values that the tables alone do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autophage.recipe.arms import Arm
from autophage.recipe.checks import data, learners, questions, training
from autophage.recipe.checks.conflict import Conflict
from autophage.recipe.keys import REMEDIES, SWEEP, path_of
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault, Location
from autophage.recipe.syntax.positions import KeyPath
from autophage.recipe.tables.gate import GATE


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Yield every conflict between values in the recipe of one arm; none if the values go together."""
    for check in _CHECKS if recipe.trains_language_model else _LEARNER_CHECKS.get(recipe.learner.kind, ()):
        found = check(recipe)
        if found is not None:
            yield found


def check_arms(recipe: Recipe, arms: list[Arm], document: TomlDocument) -> list[Fault]:
    """Return the conflicts in the recipes of all arms as faults, each once; empty if there are none.

    A fault points at the first of the conflict's keys that is written.
    """
    faults: dict[str, Fault] = {}
    for arm in arms:
        for conflict in conflicts(arm.recipe):
            swept = any(key in arm.settings or _in_bundle(recipe, arm, key) for key in conflict.keys)
            wrong = f"{conflict.wrong} (in arm {arm.name})" if swept else conflict.wrong
            faults.setdefault(
                conflict.wrong, Fault(_location(conflict, recipe, arm, document), wrong, conflict.remedies)
            )
    return list(faults.values())


def _location(conflict: Conflict, recipe: Recipe, arm: Arm, document: TomlDocument) -> Location:
    for key in conflict.keys:
        if key in arm.settings:
            values: list[object] = [*recipe.sweep[key]]
            return document.value_location((SWEEP, key, values.index(arm.settings[key])))
        if bundled := _in_bundle(recipe, arm, key):
            return document.value_location(bundled)
        if document.written(path_of(key)):
            return document.value_location(path_of(key))
    return document.key_location(())


def _in_bundle(recipe: Recipe, arm: Arm, key: str) -> KeyPath | None:
    """Return the path in the recipe at which the remedy of an arm sets `key`; None if it does not.

    A remedy sets all gates together.
    """
    remedy = str(arm.settings.get("remedy", recipe.remedy))
    bundle = recipe.remedies.get(remedy, {})
    if key in bundle:
        return (REMEDIES, remedy, key)
    return (REMEDIES, remedy, *path_of(key)) if key.startswith(f"{GATE}.") and GATE in bundle else None


_LEARNER_CHECKS: dict[str, tuple[Callable[[Recipe], Conflict | None], ...]] = {
    "gaussian": (learners.too_few_rows, data.schedule_in_wrong_direction),
    "mixture": (learners.too_few_rows, data.schedule_in_wrong_direction),
    "regression": (learners.too_few_rows, data.schedule_in_wrong_direction),
    "classifier": (learners.verifier_keeps_nothing, data.schedule_in_wrong_direction),
    "vae": (data.schedule_in_wrong_direction,),
    "ngram": (data.source_without_path, data.schedule_in_wrong_direction),
}

_CHECKS: tuple[Callable[[Recipe], Conflict | None], ...] = (
    data.source_without_path,
    data.instruct_without_text,
    data.maker_without_text_or_model,
    data.annotation_too_long,
    data.unknown_domain,
    data.domain_without_prompts,
    data.schedule_in_wrong_direction,
    training.head_size_not_served,
    training.fewer_cells_than_share_a_gpu,
    training.carried_optimizer_without_chain,
    training.full_training_on_several_gpus,
    training.reference_on_several_gpus,
    training.compiled_on_several_gpus,
    training.harness_on_several_gpus,
    training.beams_on_several_gpus,
    training.best_epoch_not_kept,
    training.no_document_to_validate_on,
    questions.mmlu_without_path,
    questions.world_questions_without_world,
    questions.options_not_in_world,
    questions.places_beside_a_world,
    questions.open_format_without_places,
    questions.mmlu_not_readable,
    data.unfit_gate,
)
