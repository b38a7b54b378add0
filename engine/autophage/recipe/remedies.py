"""`[remedies.NAME]`: bundles of settings, each a partial recipe, one of which an arm has by `remedy = "NAME"`.

Owns their one form (dotted key -> value, however they were nested) and what is wrong with one: a key that does not exist or
may not differ between arms, a value that its key does not take, a key that is swept as well. A bundle's gates replace those of
the recipe. Every remedy is held against the
same loop by the same measures, so a bundle has neither a seed nor measures of its own. Laying one over a recipe is `arms`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from autophage.recipe.explain import not_a_table, unknown_key, wrong_value
from autophage.recipe.keys import KEYS, REMEDIES, SWEEP, meant_choice
from autophage.recipe.schema import Recipe
from autophage.recipe.settings import NAKED
from autophage.recipe.sweeps import WHOLE_RUN, WHOLE_RUN_TABLES
from autophage.recipe.syntax.document import TomlDocument, flat_items
from autophage.recipe.syntax.faults import Fault
from autophage.recipe.syntax.literals import shown, toml_key
from autophage.recipe.syntax.positions import KeyPath, Mark
from autophage.recipe.tables.gate import GATE
from autophage.recipe.written_gates import check_gates

REMEDY = "remedy"
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
ALIKE = ("seed", REMEDY)
"""Keys that every remedy has as the naked loop has them: arms are compared seed by seed."""


def flatten_remedies(document: TomlDocument) -> None:
    """Bring every bundle to its one form: dotted key -> value."""
    bundles = document.data.get(REMEDIES)
    if not isinstance(bundles, dict):
        return
    for name, bundle in bundles.items():
        if isinstance(bundle, dict):
            bundles[name] = _flat(document, name, bundle)


def _flat(document: TomlDocument, name: str, bundle: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    marks: dict[KeyPath, Mark] = {}
    for parts, value in flat_items(bundle):
        written, dotted = (REMEDIES, name, *parts), ".".join(parts)
        if dotted in flat:
            wrong = f"{REMEDIES}.{name} sets {dotted} twice"
            document.faults.append(Fault(document.key_location(written), wrong, ("keep one of its values",)))
        flat[dotted] = value
        for path, mark in document.marks.items():
            if path[: len(written)] == written:
                marks[(REMEDIES, name, dotted, *path[len(written) :])] = mark
    document.marks |= marks
    return flat


def check_bundles(document: TomlDocument, sweep: dict[str, list[Any]]) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """The bundles, each value as its key's type holds it, and their faults. `sweep` is that of the recipe, checked."""
    written = document.data.get(REMEDIES, {})
    if not isinstance(written, dict):
        return {}, [not_a_table(document.value_location((REMEDIES,)), REMEDIES, written)]
    bundles: dict[str, dict[str, Any]] = {}
    faults: list[Fault] = []
    for name, bundle in written.items():
        fault = _check_bundle(document, name, bundle)
        if fault is not None:
            faults.append(fault)
            continue
        bundles[name] = {}
        for dotted, value in bundle.items():
            held, wrong = _check_entry(document, name, dotted, value, sweep)
            bundles[name][dotted] = held
            faults += wrong
    return bundles, faults


def check_choice(recipe: Recipe, document: TomlDocument) -> list[Fault]:
    """Remedies that arms are to have and that the recipe does not."""
    known = (NAKED, *recipe.remedies)
    faults = []
    for name, path in _chosen(recipe):
        if name not in known:
            close = meant_choice(name, known)
            guess = (f"did you mean {close[0]}?",) if close else ()
            wrong = f"{REMEDY} = {shown(name)}: there is no [{toml_key([REMEDIES, name])}]"
            faults.append(Fault(document.value_location(path), wrong, (*guess, f"the recipe has {', '.join(known)}")))
    return faults


def unchosen(recipe: Recipe) -> list[str]:
    """Bundles that no arm has."""
    chosen = {name for name, _ in _chosen(recipe)}
    return [name for name in recipe.remedies if name not in chosen]


def _chosen(recipe: Recipe) -> Iterator[tuple[str, KeyPath]]:
    """The remedies of the arms, each with where it is chosen."""
    if REMEDY not in recipe.sweep:
        yield recipe.remedy, (REMEDY,)
    for index, name in enumerate(recipe.sweep.get(REMEDY, ())):
        yield str(name), (SWEEP, REMEDY, index)


def _check_bundle(document: TomlDocument, name: str, bundle: object) -> Fault | None:
    label = toml_key([REMEDIES, name])
    location = document.key_location((REMEDIES, name))
    if not isinstance(bundle, dict):
        wrong = f"{label} = {shown(bundle)}: a remedy is a table of settings"
        return Fault(location, wrong, (f"write [{label}] and below it, for example, mix.alpha = 0.5",))
    if name == NAKED:
        return Fault(location, f"{label}: {NAKED} is the loop without a remedy", ("give the remedy another name",))
    if not NAMES.fullmatch(name):
        wrong = f"{label}: is no name of a remedy"
        return Fault(location, wrong, ('up to 32 letters, digits, "_" and "-", the first a letter or a digit',))
    if not bundle:
        return Fault(
            location, f"{label}: sets nothing", (f'that is remedy = "{NAKED}"; give it a setting, or take it out',)
        )
    return None


def _check_entry(
    document: TomlDocument, name: str, dotted: str, value: object, sweep: dict[str, list[Any]]
) -> tuple[Any, list[Fault]]:
    """One setting of a bundle as its key's type holds it, and what is wrong with it."""
    path: KeyPath = (REMEDIES, name, dotted)
    label = toml_key([REMEDIES, name, *dotted.split(".")])
    location = document.key_location(path)
    table = dotted.split(".")[0]
    if table == GATE:
        # `[remedies.NAME.gate]` is a table, and was taken apart as one.
        written = value if dotted == GATE else {dotted: value}
        gates, faults = check_gates(document, written, (REMEDIES, name, GATE))
        return [gate.model_dump(exclude_unset=True) for gate in gates], faults
    if dotted not in KEYS:
        return None, [unknown_key(location, dotted, label)]
    if dotted in WHOLE_RUN or table in WHOLE_RUN_TABLES or dotted in ALIKE:
        wrong = f"{label}: {dotted} is the same for all arms of a run"
        return None, [Fault(location, wrong, ("a remedy cannot change it; make a run of its own for each value",))]
    if table == "measure":
        return None, [
            Fault(location, f"{label}: all remedies are measured alike", (f"set {dotted} for the whole run",))
        ]
    if dotted in sweep:
        where = document.key_location((SWEEP, dotted)).provenance
        wrong = f"{label}: {dotted} is swept too ({where}), so that the remedy would not decide it"
        return None, [Fault(location, wrong, ("take it out of one of them",))]
    held, errors = KEYS[dotted].validate(value)
    if errors:
        return None, [wrong_value(document.value_location(path), KEYS[dotted], value, errors[0], label)]
    return held, []
