"""From one recipe to its arms: the combinations of `[sweep]`, and the control arm each of them needs.

An arm is a complete recipe of its own, with a name that is safe as a folder. The control of an arm is the same recipe
with alpha = 0 and human text as it is; arms that share a control share the one arm. An arm that trains all weights has
no rank: where `model.method` is swept beside `model.rank`, full fine-tuning is one arm, not one for every rank.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autophage.recipe.schema import Recipe

CONTROL = "control"
ONLY_LORA = ("model.rank", "model.lora_alpha")
"""Swept keys that an arm does not have if it trains all weights."""
ONLY_HUMAN: dict[str, object] = {"mix.alpha": 0.0, "mix.human_edit": None}
"""What makes a control: nothing that it is trained on comes from a model."""


@dataclass(frozen=True)
class Arm:
    """One lineage of models inside a run. `settings` are the swept keys and their values, empty for a lone arm."""

    name: str
    recipe: Recipe
    settings: dict[str, object]
    control: bool


def expand(recipe: Recipe) -> list[Arm]:
    """Arms of `recipe`: sweep combinations in the order they are written, then the control arms."""
    arms: dict[str, Arm] = {}
    controls: dict[str, Arm] = {}
    for settings in combinations(recipe):
        arm = with_values(recipe, settings)
        is_control = is_human_alone(arm)
        name = arm_name(settings) or ("main" if not is_control else CONTROL)
        arms[name] = Arm(name, arm, settings, control=is_control)
        if recipe.control.enabled:
            own = {
                key: value for key, value in settings.items() if key not in ONLY_HUMAN and len(recipe.sweep[key]) > 1
            }
            label = f"{CONTROL}_{arm_name(own)}" if own else CONTROL
            controls.setdefault(label, Arm(label, with_values(arm, ONLY_HUMAN), own, control=True))
    swept_to_zero = {_identity(arm) for arm in arms.values() if arm.control}
    return [*arms.values(), *(arm for arm in controls.values() if _identity(arm) not in swept_to_zero)]


def combinations(recipe: Recipe) -> Iterator[dict[str, object]]:
    """Every combination of the swept values that makes an arm of its own, in the order they are written.

    A single empty one without a sweep.
    """
    seen = set()
    for values in itertools.product(*recipe.sweep.values()):
        settings: dict[str, object] = dict(zip(recipe.sweep, values, strict=True))
        if settings.get("model.method", recipe.model.method) == "full":
            settings = {key: value for key, value in settings.items() if key not in ONLY_LORA}
        if (identity := tuple(settings.items())) not in seen:
            seen.add(identity)
            yield settings


def with_values(recipe: Recipe, values: dict[str, object]) -> Recipe:
    """`recipe` with dotted keys replaced, validated again. Integers written for float keys are accepted, as in TOML."""
    data = recipe.model_dump()
    data["sweep"] = {}
    for dotted, value in values.items():
        table = data
        *path, last = dotted.split(".")
        for part in path:
            table = table[part]
        table[last] = value
    return Recipe.model_validate(data)


def is_human_alone(recipe: Recipe) -> bool:
    """Whether nothing that an arm is trained on comes from a model."""
    return recipe.mix.alpha == 0.0 and recipe.mix.human_edit is None


def _identity(arm: Arm) -> str:
    return arm.recipe.model_dump_json()


def arm_name(settings: dict[str, object]) -> str:
    """`{"mix.alpha": 0.5}` -> `alpha-0.5`; the table is named where two swept keys end alike."""
    lasts = [key.rsplit(".", 1)[-1] for key in settings]
    parts = []
    for key, value in settings.items():
        last = key.rsplit(".", 1)[-1]
        label = key if lasts.count(last) > 1 else last
        parts.append(re.sub(r"[^A-Za-z0-9._-]+", "-", f"{label}-{value}"))
    return "_".join(parts)
