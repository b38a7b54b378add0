"""From one recipe to its arms: the combinations of `[sweep]`, and the control arm each of them needs.

An arm is a complete recipe of its own, with a name that is safe as a folder. The control of an arm is the same recipe
with human data only, as it is; arms that share a control share the one arm. Of a remedy's settings its control has those
that also act on human text (how a model is trained, and on which human text), so that the two differ in who wrote and in
nothing else; settings of what becomes of samples (`OF_SAMPLES`) mean nothing there, and such remedies share the naked loop's
control. An arm that trains all weights has no rank: where `model.method` is swept beside `model.rank`, full fine-tuning is
one arm, not one for every rank.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from autophage.recipe.schedule import is_always
from autophage.recipe.schema import Recipe
from autophage.recipe.settings import NAKED

CONTROL = "control"
ONLY_LORA = ("model.rank", "model.lora_alpha")
"""Swept keys that an arm does not have if it trains all weights."""
ONLY_HUMAN: dict[str, object] = {
    "mix.alpha": 0.0,
    "mix.schedule": "constant",
    "mix.alpha_final": None,
    "mix.human_edit": None,
}
"""What makes a control: nothing that it is trained on comes from a model."""
OF_SAMPLES = (
    *ONLY_HUMAN,
    *("gate", "mix.short", "sample.oversample", "sample.prompt_set"),
    *("sample.temperature", "sample.top_p", "sample.top_k", "sample.repetition_penalty"),
    *("anchor.objective", "anchor.trust", "anchor.outliers"),
)
"""What a remedy may set that changes nothing where all that is trained on is human."""


@dataclass(frozen=True)
class Arm:
    """One lineage of models inside a run. `settings` are the swept keys and their values, empty for a lone arm.

    `control_name` is the name of its control, None for a control and where there is none.
    """

    name: str
    recipe: Recipe
    settings: dict[str, object]
    control: bool
    control_name: str | None = None

    @property
    def added(self) -> bool:
        """Whether it stands beside the sweep as a control, and is none of its combinations."""
        return self.name == CONTROL or self.name.startswith(f"{CONTROL}_")


def expand(recipe: Recipe) -> list[Arm]:
    """Arms of `recipe`: sweep combinations in the order they are written, then the control arms."""
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
    """The control of the arm with `settings`."""
    bundle = recipe.remedies.get(str(settings.get("remedy", recipe.remedy)), {})
    kept = {key: value for key, value in bundle.items() if key not in OF_SAMPLES}
    shared = {key: value for key, value in settings.items() if key not in ONLY_HUMAN} | {"remedy": NAKED}
    naked, own = (with_values(recipe, {**values, **ONLY_HUMAN}) for values in (shared, {**shared, **kept}))
    told = {key: value for key, value in settings.items() if key not in ONLY_HUMAN and len(recipe.sweep[key]) > 1}
    if own == naked:
        told.pop("remedy", None)
    return Arm(f"{CONTROL}_{arm_name(told)}" if told else CONTROL, own, told, control=True)


def is_human_alone(recipe: Recipe) -> bool:
    """Whether nothing that an arm is trained on comes from a model."""
    return is_always(recipe, 0.0) and recipe.mix.human_edit is None


def combinations(recipe: Recipe) -> Iterator[dict[str, object]]:
    """Every combination of the swept values that makes an arm of its own, in the order they are written.

    A single empty one without a sweep.
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
    """`recipe` with its remedy and then `values` laid over it by their dotted keys, validated again.

    Integers written for float keys are accepted, as in TOML. What comes out is an arm's: it sweeps and chooses no more.
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
    """Equal for recipes that make the same, whatever their remedy is called."""
    return recipe.model_copy(update={"remedy": NAKED}).model_dump_json()


def arm_name(settings: dict[str, object]) -> str:
    """`{"mix.alpha": 0.5}` -> `alpha-0.5`; the table is named where two keys end alike, a file by its last part."""
    lasts = [key.rsplit(".", 1)[-1] for key in settings]
    parts = []
    for key, value in settings.items():
        last = key.rsplit(".", 1)[-1]
        label = key if lasts.count(last) > 1 else last
        shown = os.path.basename(str(value)) if os.path.isabs(str(value)) else value
        parts.append(re.sub(r"[^A-Za-z0-9._-]+", "-", f"{label}-{shown}"))
    return "_".join(parts)
