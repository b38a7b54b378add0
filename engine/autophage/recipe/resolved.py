"""Resolved recipes: complete recipes as TOML, with the origin of every value. They are written, read back and compared here.

`recipe.toml` in a run directory is a resolved recipe. It reads back to an equal recipe, so that a resumed run has the values
that it started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autophage.display import safe
from autophage.recipe.keys import KEYS, REMEDIES, SWEEP, TABLES
from autophage.recipe.remedies import flatten_remedies
from autophage.recipe.schema import Recipe
from autophage.recipe.sweeps import flatten_sweep
from autophage.recipe.syntax.document import RESOLVED, read_document
from autophage.recipe.syntax.literals import toml_key, toml_value
from autophage.recipe.tables.gate import GATE
from autophage.recipe.validate import validate

COMMENT_COLUMN = 48


def flat(recipe: Recipe) -> dict[str, object]:
    """Return all settings of a recipe as a flat mapping from dotted key to value, in schema order.

    Settings of a gate are `gate.NUMBER.KEY`, and those of a remedy are `remedies.NAME.KEY`. Lists of the sweep are
    `sweep.KEY`.
    """
    values = {}
    for dotted, key in KEYS.items():
        values[dotted] = getattr(getattr(recipe, key.table) if key.table else recipe, key.name)
    for number, gate in enumerate(recipe.gate):
        values |= {f"{GATE}.{number}.{name}": value for name, value in gate}
    for name, bundle in recipe.remedies.items():
        values |= {f"{REMEDIES}.{name}.{dotted}": value for dotted, value in bundle.items()}
    return values | {f"{SWEEP}.{dotted}": list(swept) for dotted, swept in recipe.sweep.items()}


def to_toml(recipe: Recipe, provenance: Mapping[str, str]) -> str:
    """Return a recipe as TOML text, with a comment for the origin of each value.

    A key without a value is a comment.

    Args:
        provenance: Dotted key to the origin of its value.
    """
    lines = [RESOLVED, ""]
    values = flat(recipe)
    for dotted, key in KEYS.items():
        if not key.table:
            lines.append(_line(key.name, values[dotted], provenance[dotted]))
    for table in TABLES:
        lines += ["", f"[{table}]"]
        lines += [
            _line(key.name, values[dotted], provenance[dotted]) for dotted, key in KEYS.items() if key.table == table
        ]
    for number, gate in enumerate(recipe.gate):
        lines += ["", f"[[{GATE}]]"]
        lines += [_line(name, value, provenance[f"{GATE}.{number}.{name}"]) for name, value in gate]
    lines += [] if recipe.remedies else ["", f"[{REMEDIES}]"]
    for name, bundle in recipe.remedies.items():
        entries = {dotted: f"{REMEDIES}.{name}.{dotted}" for dotted in bundle}
        lines += ["", f"[{toml_key([REMEDIES, name])}]"]
        lines += [_line(toml_key([dotted]), values[entry], provenance[entry]) for dotted, entry in entries.items()]
    lines += ["", f"[{SWEEP}]" if recipe.sweep else _commented(f"[{SWEEP}]", provenance[SWEEP])]
    for dotted in recipe.sweep:
        entry = f"{SWEEP}.{dotted}"
        lines.append(_line(toml_key([dotted]), values[entry], provenance[entry]))
    return "\n".join(lines) + "\n"


def read_resolved(path: Path | str) -> Recipe:
    """Read a recipe from a file that `to_toml` wrote.

    Raises:
        RecipeError: the file is not a valid resolved recipe.
    """
    document = read_document(Path(path), str(path))
    flatten_sweep(document)
    flatten_remedies(document)
    return validate(document, [])


def describe_difference(old: Recipe, new: Recipe) -> list[str]:
    """Return one line `key: old -> new` for every setting that differs, in schema order; empty if none does."""
    before, after = flat(old), flat(new)
    keys = dict.fromkeys([*before, *after])
    return [
        f"{key}: {_value(before.get(key))} -> {_value(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _line(name: str, value: object, origin: str) -> str:
    return _commented(f"# {name} is left out" if value is None else f"{name} = {toml_value(value)}", origin)


def _commented(text: str, origin: str) -> str:
    return f"{text:<{COMMENT_COLUMN}}  # {safe(origin)}"


def _value(value: object) -> str:
    return "left out" if value is None else toml_value(value)
