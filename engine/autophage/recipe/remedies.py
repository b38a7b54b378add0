"""`[remedies.NAME]`: bundles of settings. An arm has one of them by `remedy = "NAME"`.

This module brings a bundle to one form, dotted key to value, and checks it. A bundle may not set a key that is unknown,
that all arms share, or that is swept as well. It sets neither a seed nor measurements, because every remedy is compared
with the same loop by the same measurements. The gates of a bundle replace those of the recipe. `arms` lays a bundle
over a recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from autophage.recipe.explain import not_a_table, unknown_key, wrong_value
from autophage.recipe.keys import KEYS, REMEDIES, SWEEP, meant_choice
from autophage.recipe.schema import Recipe
from autophage.recipe.settings import NO_REMEDY
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
"""Dotted keys that a remedy may not set. Arms are compared seed by seed."""


def flatten_remedies(document: TomlDocument) -> None:
    """Rewrite the settings of every remedy of `document` as dotted key to value.

    A key that a remedy sets twice adds a fault to the document.
    """
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
    """Check the settings of the written remedies. Return them by name of the remedy, and the faults.

    Each value is as its key holds it. A remedy with a wrong form or name is left out.

    Args:
        sweep: The checked sweep.
    """
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
    """Return the faults of arms whose remedy the recipe does not define; empty if all are defined."""
    known = (NO_REMEDY, *recipe.remedies)
    faults = []
    for name, path in _chosen(recipe):
        if name not in known:
            close = meant_choice(name, known)
            guess = (f"did you mean {close[0]}?",) if close else ()
            wrong = f"{REMEDY} = {shown(name)}: there is no [{toml_key([REMEDIES, name])}]"
            faults.append(
                Fault(document.value_location(path), wrong, (*guess, f"remedies of the recipe: {', '.join(known)}"))
            )
    return faults


def unchosen(recipe: Recipe) -> list[str]:
    """Return the names of remedies that no arm has."""
    chosen = {name for name, _ in _chosen(recipe)}
    return [name for name in recipe.remedies if name not in chosen]


def _chosen(recipe: Recipe) -> Iterator[tuple[str, KeyPath]]:
    """Yield the name of each arm's remedy, with the path in the recipe at which it is chosen."""
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
    if name == NO_REMEDY:
        return Fault(
            location,
            f"{label}: {NO_REMEDY} is reserved for the loop without a remedy",
            ("give the remedy another name",),
        )
    if not NAMES.fullmatch(name):
        wrong = f"{label}: not a name for a remedy"
        return Fault(location, wrong, ('up to 32 letters, digits, "_" and "-", the first a letter or a digit',))
    if not bundle:
        return Fault(
            location,
            f"{label}: sets nothing",
            (f'write a setting, or remove it; remedy = "{NO_REMEDY}" is the loop without a remedy',),
        )
    return None


def _check_entry(
    document: TomlDocument, name: str, dotted: str, value: object, sweep: dict[str, list[Any]]
) -> tuple[Any, list[Fault]]:
    """Check one setting of the remedy `name`. Return the value as its key holds it, and the faults.

    The value is None if the key or the value is wrong.
    """
    path: KeyPath = (REMEDIES, name, dotted)
    label = toml_key([REMEDIES, name, *dotted.split(".")])
    location = document.key_location(path)
    table = dotted.split(".")[0]
    if table == GATE:
        # `[remedies.NAME.gate]`, a table instead of a list, was flattened to its entries.
        written = value if dotted == GATE else {dotted: value}
        gates, faults = check_gates(document, written, (REMEDIES, name, GATE))
        return [gate.model_dump(exclude_unset=True) for gate in gates], faults
    if dotted not in KEYS:
        return None, [unknown_key(location, dotted, label)]
    if dotted in WHOLE_RUN or table in WHOLE_RUN_TABLES or dotted in ALIKE:
        wrong = f"{label}: {dotted} is the same for all arms of a run"
        return None, [Fault(location, wrong, ("a remedy cannot set it; make one run for each value",))]
    if table == "measure":
        return None, [
            Fault(location, f"{label}: all remedies have the same measurements", (f"set {dotted} for the whole run",))
        ]
    if dotted in sweep:
        where = document.key_location((SWEEP, dotted)).provenance
        wrong = f"{label}: {dotted} is swept too ({where}), and the sweep would override the remedy"
        return None, [Fault(location, wrong, ("remove it from one of them",))]
    held, errors = KEYS[dotted].validate(value)
    if errors:
        return None, [wrong_value(document.value_location(path), KEYS[dotted], value, errors[0], label)]
    return held, []
