"""Resolved recipes of other versions, for reading only.

Another version may have keys that this one does not know, or values that it refuses. Such a recipe cannot be run here.
Its settings can be read and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.errors import RecipeError
from autophage.recipe.keys import APART, KEYS, TABLES
from autophage.recipe.remedies import flatten_remedies
from autophage.recipe.resolved import flat
from autophage.recipe.schema import Recipe
from autophage.recipe.sweeps import flatten_sweep
from autophage.recipe.syntax.document import TomlDocument, read_document
from autophage.recipe.tables.gate import GATE
from autophage.recipe.validate import validate


@dataclass(frozen=True)
class ForeignRecipe:
    """Settings of a resolved recipe, which another version may have written.

    `recipe` has the keys that this version knows. It is None if this version refuses a value. `settings` maps dotted
    keys to values. `unknown` lists the keys that this version does not know.
    """

    recipe: Recipe | None
    settings: dict[str, object]
    unknown: list[str]


def read_foreign(path: Path | str) -> ForeignRecipe:
    """Read a resolved recipe of any version.

    Raises:
        RecipeError: The file cannot be read, or is not TOML.
    """
    document = read_document(Path(path), str(path))
    unknown = _take_unknown(document)
    try:
        flatten_sweep(document)
        flatten_remedies(document)
        recipe = validate(document, [])
    except RecipeError:
        return ForeignRecipe(None, {**dict(_flattened(document.data)), **unknown}, sorted(unknown))
    return ForeignRecipe(recipe, {**flat(recipe), **unknown}, sorted(unknown))


def _take_unknown(document: TomlDocument) -> dict[str, object]:
    """Remove keys that this version does not know from a document, and return them by dotted name."""
    unknown: dict[str, object] = {}
    for name in list(document.data):
        value = document.data[name]
        if name in TABLES and isinstance(value, dict):
            for key in [key for key in value if f"{name}.{key}" not in KEYS]:
                unknown |= _flattened({f"{name}.{key}": value.pop(key)})
        elif name not in KEYS and name not in (*APART, *TABLES, GATE):
            unknown |= _flattened({name: document.data.pop(name)})
    return unknown


def _flattened(data: dict[str, Any]) -> dict[str, object]:
    """Return nested tables as one mapping by dotted key. The members of a list of tables are numbered from 0."""
    flattened: dict[str, object] = {}
    for name, value in data.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            value = {str(number): one for number, one in enumerate(value)}
        if isinstance(value, dict):
            flattened |= {f"{name}.{key}": one for key, one in _flattened(value).items()}
        else:
            flattened[name] = value
    return flattened
