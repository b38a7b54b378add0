"""From a recipe to its arms: the combinations of `[sweep]`, and the control of each.

An arm is a complete recipe with a name that is safe as a folder. Its control is the same recipe with human data only. Arms with
equal controls share one control.

The control of a remedy keeps the settings that also act on human text. Training and the choice of human text are such
settings. Arm and control then differ in the writer alone. The control drops settings that act on samples alone
(`OF_SAMPLES`). Remedies with such settings share the control of the loop without a remedy.

An arm that trains all weights has no rank. Full fine-tuning is one arm even if the rank is swept too.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from autophage.recipe.schedule import is_always
from autophage.recipe.schema import Recipe
from autophage.recipe.settings import NO_REMEDY

CONTROL = "control"
ONLY_LORA = ("model.rank", "model.lora_alpha")
"""Dotted keys without meaning for an arm that trains all weights."""
ONLY_HUMAN: dict[str, object] = {
    "mix.alpha": 0.0,
    "mix.schedule": "constant",
    "mix.alpha_final": None,
    "mix.human_edit": None,
}
"""Values of a control by dotted key. With them, none of its training data comes from a model."""
OF_SAMPLES = (
    *ONLY_HUMAN,
    *("gate", "mix.short", "sample.oversample", "sample.prompt_set"),
    *("sample.temperature", "sample.top_p", "sample.top_k", "sample.repetition_penalty"),
    *("anchor.objective", "anchor.trust", "anchor.outliers"),
)
"""Dotted keys of a remedy that have no effect if all training data is human."""


@dataclass(frozen=True)
class Arm:
    """One chain of models inside a run, generation after generation.

    Attributes:
        name: name of its folder and adapters.
        recipe: its complete recipe.
        settings: swept keys and their values; empty without a sweep.
        control: True if all of its training data is human.
        control_name: name of its control; None for a control, and where controls are switched off.
    """

    name: str
    recipe: Recipe
    settings: dict[str, object]
    control: bool
    control_name: str | None = None

    @property
    def added(self) -> bool:
        """True for a control that is not itself a combination of the sweep. `expand` added it."""
        return self.name == CONTROL or self.name.startswith(f"{CONTROL}_")


def expand(recipe: Recipe) -> list[Arm]:
    """Return the arms of a run: the sweep's combinations in the order of the file, then the added controls."""
    arms: dict[str, Arm] = {}
    controls: dict[str, Arm] = {}
    wanted: dict[str, str] = {}
    for settings in combinations(recipe):
        arm = with_values(recipe, settings)
        is_control = is_human_alone(arm)
        name = arm_name(settings) or ("main" if not is_control else CONTROL)
        arms[name] = Arm(name, arm, settings, control=is_control)
        control = _control_of(recipe, settings)
        wanted[name] = _identity(control.recipe)
        if recipe.control.enabled:
            controls.setdefault(wanted[name], control)
    swept_to_zero = {_identity(arm.recipe): arm for arm in arms.values() if arm.control}
    made = {**controls, **swept_to_zero}
    treated = [
        replace(arm, control_name=made[wanted[name]].name) if not arm.control and wanted[name] in made else arm
        for name, arm in arms.items()
    ]
    return [*treated, *(arm for identity, arm in controls.items() if identity not in swept_to_zero)]


def _control_of(recipe: Recipe, settings: dict[str, object]) -> Arm:
    """Return the control of the arm with the swept values `settings`: the same steps on human data only."""
    bundle = recipe.remedies.get(str(settings.get("remedy", recipe.remedy)), {})
    kept = {key: value for key, value in bundle.items() if key not in OF_SAMPLES}
    shared = {key: value for key, value in settings.items() if key not in ONLY_HUMAN} | {"remedy": NO_REMEDY}
    naked, own = (with_values(recipe, {**values, **ONLY_HUMAN}) for values in (shared, {**shared, **kept}))
    told = {key: value for key, value in settings.items() if key not in ONLY_HUMAN and len(recipe.sweep[key]) > 1}
    if own == naked:
        told.pop("remedy", None)
    return Arm(f"{CONTROL}_{arm_name(told)}" if told else CONTROL, own, told, control=True)


def is_human_alone(recipe: Recipe) -> bool:
    """Return True if none of an arm's training data comes from a model."""
    return is_always(recipe, 0.0) and recipe.mix.human_edit is None


def combinations(recipe: Recipe) -> Iterator[dict[str, object]]:
    """Yield the swept values of each arm by dotted key, in the order of the file.

    Without a sweep, yield one empty dictionary.
    """
    seen = set()
    for values in itertools.product(*recipe.sweep.values()):
        settings: dict[str, object] = dict(zip(recipe.sweep, values, strict=True))
        bundle = recipe.remedies.get(str(settings.get("remedy", recipe.remedy)), {})
        if {"model.method": recipe.model.method, **bundle, **settings}["model.method"] == "full":
            settings = {key: value for key, value in settings.items() if key not in ONLY_LORA}
        if (identity := tuple(settings.items())) not in seen:
            seen.add(identity)
            yield settings


def with_values(recipe: Recipe, values: dict[str, object]) -> Recipe:
    """Return the recipe of one arm, validated: `recipe`, then its remedy, then `values` by dotted key.

    Integers are accepted for float keys, as in TOML. The result has no sweep and no remedies.
    """
    bundle = recipe.remedies.get(str(values.get("remedy", recipe.remedy)), {})
    data = recipe.model_dump()
    data["sweep"], data["remedies"] = {}, {}
    for dotted, value in {**bundle, **values}.items():
        table = data
        *path, last = dotted.split(".")
        for part in path:
            table = table[part]
        table[last] = value
    return Recipe.model_validate(data)


def _identity(recipe: Recipe) -> str:
    """Return a text that is equal for recipes that differ in the name of their remedy alone."""
    return recipe.model_copy(update={"remedy": NO_REMEDY}).model_dump_json()


def arm_name(settings: dict[str, object]) -> str:
    """Return the name of an arm from its swept values: `{"mix.alpha": 0.5}` -> `alpha-0.5`. Without any, it is empty.

    The table is part of the name if two keys end alike. A path is shortened to its last part.
    """
    lasts = [key.rsplit(".", 1)[-1] for key in settings]
    parts = []
    for key, value in settings.items():
        last = key.rsplit(".", 1)[-1]
        label = key if lasts.count(last) > 1 else last
        shown = os.path.basename(str(value)) if os.path.isabs(str(value)) else value
        parts.append(re.sub(r"[^A-Za-z0-9._-]+", "-", f"{label}-{shown}"))
    return "_".join(parts)
