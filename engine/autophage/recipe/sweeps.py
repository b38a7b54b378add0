"""Checks of `[sweep]`: keys that may differ between arms, values that their keys take, and distinct names of arms.

`arms` expands a checked sweep into arms.
"""

from __future__ import annotations

import math
from typing import Any

from autophage.recipe.arms import arm_name, combinations, expand
from autophage.recipe.explain import not_a_table, unknown_key, wrong_value
from autophage.recipe.keys import KEYS, SWEEP
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument, flat_items
from autophage.recipe.syntax.faults import Fault
from autophage.recipe.syntax.literals import shown, toml_key, toml_value
from autophage.recipe.syntax.positions import KeyPath, Mark
from autophage.recipe.tables.gate import GATE

LONGEST_NAME = 120
"""Maximum characters of an arm's name.

The name becomes part of folder and adapter names. File systems stop at 255 bytes.
"""

MOST_ARMS = 1000
"""Maximum arms of a run. A larger sweep is a slip, and would take hours to list."""

WHOLE_RUN = (
    *("name", "description", "profile", "generations", "devices", "learner.kind"),
    *(
        "model.path",
        "model.merge_adapter",
        "model.dtype",
        "sample.concurrency",
        "sample.batching",
        "sample.memory",
        "sample.beams",
    ),
)
WHOLE_RUN_TABLES = ("base", "source", "questions", "cluster", "control", "track")
"""Tables that all arms of a run share, as they do the keys of `WHOLE_RUN`.

One engine serves all arms, with one base model, source and set of questions.
"""


def flatten_sweep(document: TomlDocument) -> None:
    """Rewrite the sweep of `document` as dotted key to values, however its keys were nested or quoted.

    A key that is swept twice adds a fault to the document.
    """
    sweep = document.data.get(SWEEP)
    if not isinstance(sweep, dict):
        return
    flat: dict[str, Any] = {}
    marks: dict[KeyPath, Mark] = {}
    for parts, values in flat_items(sweep):
        written = (SWEEP, *parts)
        dotted = ".".join(parts)
        if dotted in flat:
            wrong = f"{dotted} is swept twice"
            document.faults.append(Fault(document.key_location(written), wrong, ("keep one of its lists of values",)))
        flat[dotted] = values
        for path, mark in document.marks.items():
            if path[: len(written)] == written:
                marks[(SWEEP, dotted, *path[len(written) :])] = mark
    others = {path: mark for path, mark in document.marks.items() if path[0] != SWEEP or len(path) == 1}
    document.marks = others | marks
    document.data[SWEEP] = flat


def check_values(document: TomlDocument) -> tuple[dict[str, list[Any]], list[Fault]]:
    """Check the written sweep. Return the values by dotted key, each as its key holds it, and the faults.

    An integer becomes a float for a fraction. Values with a fault are left out.
    """
    written = document.data.get(SWEEP, {})
    if not isinstance(written, dict):
        return {}, [not_a_table(document.value_location((SWEEP,)), SWEEP, written)]
    sweep: dict[str, list[Any]] = {}
    faults: list[Fault] = []
    for dotted, values in written.items():
        fault = _check_key(document, dotted, values)
        if fault is not None:
            faults.append(fault)
            continue
        checked, wrong = _check_list(document, dotted, values)
        faults += wrong
        if checked:
            sweep[dotted] = checked
    arms = math.prod(map(len, sweep.values()))
    if not faults and arms > MOST_ARMS:
        wrong_count = f"the sweep has {arms:,} combinations; the limit of a run is {MOST_ARMS:,}"
        faults.append(
            Fault(document.key_location((SWEEP,)), wrong_count, ("sweep fewer keys, or give them fewer values",))
        )
    return sweep, faults


def _check_key(document: TomlDocument, dotted: str, values: object) -> Fault | None:
    location = document.key_location((SWEEP, dotted))
    label = toml_key([SWEEP, dotted])
    if dotted.split(".")[0] == GATE:
        return Fault(
            location,
            f"{label}: gates are a list of tables",
            ("sweep keys with single values, or sweep remedies with different gates",),
        )
    if dotted not in KEYS:
        return unknown_key(location, dotted, label)
    if dotted in WHOLE_RUN or dotted.split(".")[0] in WHOLE_RUN_TABLES:
        return Fault(
            location,
            f"{label}: {dotted} is the same for all arms of a run",
            ("it cannot be swept; make one run for each value",),
        )
    if KEYS[dotted].type == "array":
        return Fault(location, f"{label}: {dotted} is a list", ("only keys with single values can be swept",))
    value_location = document.value_location((SWEEP, dotted))
    if not isinstance(values, list):
        remedy = f"write a list: {value_location.replacement(label, [values])}"
        return Fault(value_location, f"{label} = {shown(values)}: not a list of values", (remedy, str(KEYS[dotted])))
    if not values:
        remedy = "write a value, or remove the key from the sweep"
        return Fault(value_location, f"{label} = []: an empty list makes no arms", (remedy, str(KEYS[dotted])))
    return None


def _check_list(document: TomlDocument, dotted: str, values: list[object]) -> tuple[list[Any], list[Fault]]:
    label = toml_key([SWEEP, dotted])
    checked: list[Any] = []
    faults = []
    for index, value in enumerate(values):
        location = document.value_location((SWEEP, dotted, index))
        held, errors = KEYS[dotted].validate(value)
        if errors:
            faults.append(wrong_value(location, KEYS[dotted], value, errors[0], f"{label}[{index}]"))
        elif held in checked:
            faults.append(Fault(location, f"{label}[{index}] = {shown(value)}: occurs twice", ("keep one of them",)))
        else:
            checked.append(held)
    return checked, faults


def check_names(recipe: Recipe, document: TomlDocument) -> list[Fault]:
    """Return the faults of arms with equal or too long names; empty if there are none.

    The sweep must have been checked.
    """
    faults = []
    seen: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any]
    for settings in combinations(recipe):
        name = arm_name(settings)
        other = seen.setdefault(name, settings)
        if other is settings:
            continue
        dotted = next(key for key in settings if settings[key] != other[key])
        values: list[Any] = recipe.sweep[dotted]
        index = values.index(settings[dotted])
        wrong = f"{shown(other[dotted])} and {shown(settings[dotted])} of {dotted} give the same arm name {name!r}"
        remedy = "arm names keep letters, digits, '.', '_' and '-', and the last part of a path"
        faults.append(
            Fault(document.value_location((SWEEP, dotted, index)), wrong, (remedy, "change one of the values"))
        )
    if faults:
        return faults[:1]
    for arm in expand(recipe):
        if len(arm.name) > LONGEST_NAME:
            dotted = max(arm.settings, key=lambda key: len(toml_value(arm.settings[key])))
            wrong = f"the arm name {arm.name[:40]!r}... has {len(arm.name)} characters; the limit is {LONGEST_NAME}"
            return [Fault(document.key_location((SWEEP, dotted)), wrong, ("sweep fewer keys or shorter values",))]
    return []
