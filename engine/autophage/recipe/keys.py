"""The keys of a recipe in words: name, allowed values, description. For a wrong key or choice, the closest right one.

Everything is read from the schema, so that a key is described once. This module does not know any recipe.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.syntax.positions import KeyPath
from autophage.recipe.tables.gate import GATE

SWEEP, REMEDIES = "sweep", "remedies"
APART = (SWEEP, REMEDIES)
"""Tables of a recipe whose keys are dotted names of other keys."""
PATHS = (
    *("model.path", "source.path", "questions.path", "questions.entailment", "measure.harness_path"),
    *("anchor.reference", "track.folder"),
)
"""Dotted keys whose value may be a file or a folder."""

_PATTERNS = {r"^[A-Za-z0-9][A-Za-z0-9._-]*$": 'letters, digits, ".", "_" and "-", the first a letter or a digit'}
WORDS = "words"
"""Name under which the schema of a number carries the words that the key takes too."""
_TYPES = {"integer": "an integer", "number": "a number", "string": "a string in quotes", "boolean": "true or false"}


@dataclass(frozen=True)
class Key:
    """One key of a recipe's schema.

    `dotted` is the table and the name, such as mix.alpha. `type` is a type of JSON Schema. `allowed` and `description`
    are text for users.
    """

    dotted: str
    table: str
    name: str
    type: str
    allowed: str
    description: str
    choices: tuple[str, ...]
    model: builtins.type[BaseModel]

    def __str__(self) -> str:
        return f"{self.dotted} must be {self.allowed}. {self.description}"

    def validate(self, value: object) -> tuple[Any, list[ErrorDetails]]:
        """Validate `value` for this key alone. Return the value as the schema holds it, and the errors.

        The value is None if there are errors.
        """
        others = {"name": "any"} if self.model is Recipe and self.name != "name" else {}
        try:
            return getattr(self.model.model_validate({**others, self.name: value}), self.name), []
        except ValidationError as error:
            return None, error.errors(include_url=False)


def _schema_of(field: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a field. For an optional key, it is the schema of its values without null.

    For a key that takes a number or a word, it is the schema of the number, with the words as `words`.
    """
    for option in field.get("anyOf", ()):
        if option.get("type") != "null":
            return dict(option)
    if "oneOf" in field:
        number, *words = field["oneOf"]
        return {**number, WORDS: [word for one in words for word in _enumerated(one)]}
    return field


def _bounds(field: dict[str, Any], noun: str) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{noun} from {_number(low)} to {_number(high)}"
    parts = []
    if low is not None:
        parts.append(f"at least {_number(low)}")
    if above is not None:
        parts.append(f"above {_number(above)}")
    if high is not None:
        parts.append(f"at most {_number(high)}")
    if below is not None:
        parts.append(f"below {_number(below)}")
    return " ".join([noun, " and ".join(parts)]).strip().replace(f"{noun} at", f"{noun} of at")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _text(field: dict[str, Any]) -> str:
    words = "a string in quotes"
    if "maxLength" in field:
        words += f" of {field.get('minLength', 0)} to {field['maxLength']} characters"
    elif field.get("minLength"):
        words += " that is not empty"
    pattern = field.get("pattern")
    return words if pattern is None else f"{words}: {_PATTERNS.get(pattern, pattern)}"


def _enumerated(field: dict[str, Any]) -> list[Any]:
    return [field["const"]] if "const" in field else list(field.get("enum", ()))


def _choices(field: dict[str, Any]) -> tuple[str, ...]:
    """Return the string values that a field may have, as candidates for a misspelt one; empty if any string may stand."""
    return tuple(value for value in (*_enumerated(field), *field.get(WORDS, ())) if isinstance(value, str))


def _allowed(field: dict[str, Any]) -> str:
    if _type(field) == "array":
        items = field["items"]
        if items.get("type") in ("number", "integer"):
            return f"a list of one or more {_bounds(items, 'numbers')}"
        choices = _enumerated(items)
        what = _or(choices) if choices else "strings in quotes"
        if field.get("minItems"):
            what = f"one or more {'of ' if choices else ''}{what}"
        return f"a list of {what}, each once"
    if choices := _enumerated(field):
        return _or(choices)
    if words := field.get(WORDS):
        return f"{_bounds(field, _TYPES[_type(field)])}, or {_or(words)}"
    if _type(field) == "string":
        return _text(field)
    return _bounds(field, _TYPES.get(_type(field), "a table"))


def _type(field: dict[str, Any]) -> str:
    """Return the type of a field in JSON Schema.

    A field that takes a string or a boolean has none there and counts as a string.
    """
    return str(field.get("type", "string"))


def _or(choices: Iterable[object]) -> str:
    *most, last = map(toml_value, choices)
    return f"{', '.join(most)} or {last}" if most else last


def read_table(table: str, model: type[BaseModel]) -> dict[str, Key]:
    """Return the keys of one table of the recipe, by dotted name.

    Args:
        model: Pydantic model of the table.
    """
    return _keys(table, model, model.model_json_schema()["properties"])


def _keys(table: str, model: type[BaseModel], properties: dict[str, Any]) -> dict[str, Key]:
    keys = {}
    for name, written in properties.items():
        field = _schema_of(written)
        dotted = f"{table}.{name}" if table else name
        items = field["items"] if _type(field) == "array" else field
        description = written.get("description", "")
        keys[dotted] = Key(dotted, table, name, _type(field), _allowed(field), description, _choices(items), model)
    return keys


def _read_schema() -> tuple[dict[str, Key], tuple[str, ...]]:
    properties = Recipe.model_json_schema()["properties"]
    top = {name: field for name, field in properties.items() if "type" in field and name not in (*APART, GATE)}
    keys = _keys("", Recipe, top)
    tables = []
    for name, field in Recipe.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            tables.append(name)
            keys |= read_table(name, annotation)
    return keys, tuple(tables)


KEYS, TABLES = _read_schema()
"""Every key of the schema by its dotted name, and the names of the tables, without those of `APART`."""


def keys_of(table: str) -> list[str]:
    return [key.name for key in KEYS.values() if key.table == table]


def meant_key(dotted: str) -> list[str]:
    """Return up to three keys that a wrong `dotted` may mean; empty if none is similar.

    Candidates are a similar name in the same table and an equal name in any table. Without them, a similar name in any
    table counts.
    """
    table, _, name = dotted.rpartition(".")
    found = [f"{table}.{close}" if table else close for close in _close(name, keys_of(table), 1)]
    found += [key.dotted for key in KEYS.values() if key.name == name and key.dotted not in found]
    if not found:
        names = _close(name, {key.name for key in KEYS.values()}, 2)
        found = [key.dotted for close in names for key in KEYS.values() if key.name == close]
    return (found or _close(dotted, KEYS, 1))[:3]


def meant_table(name: str) -> list[str]:
    return [f"[[{close}]]" if close == GATE else f"[{close}]" for close in _close(name, [*TABLES, GATE, *APART], 1)]


def meant_choice(value: str, choices: Iterable[str]) -> list[str]:
    return _close(value, choices, 1)


def _close(word: str, words: Iterable[str], count: int) -> list[str]:
    known = sorted(words)
    lower = word.lower().replace("-", "_")
    folded = {entry.lower().replace("-", "_"): entry for entry in known}
    found = [entry for fold, entry in folded.items() if len(lower) >= 3 and fold.startswith(lower)]
    found += [folded[close] for close in difflib.get_close_matches(lower, folded, n=count, cutoff=0.6)]
    return list(dict.fromkeys(found))[:count]


def path_of(dotted: str) -> KeyPath:
    """Return the path of a dotted key in the document, as a tuple.

    The key of an entry of a sweep or remedy stays whole: `sweep.mix.alpha` -> `("sweep", "mix.alpha")`. The number of a
    gate is an integer: `gate.0.kind` -> `("gate", 0, "kind")`.
    """
    if dotted.startswith(f"{REMEDIES}."):
        _, name, key = dotted.split(".", 2)
        return (REMEDIES, name, key)
    if dotted.startswith(f"{SWEEP}."):
        return (SWEEP, dotted.removeprefix(f"{SWEEP}."))
    table, *names = dotted.split(".")
    return (table, int(names[0]), *names[1:]) if table == GATE else (table, *names)
