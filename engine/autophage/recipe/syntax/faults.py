"""What is wrong with a recipe, as sentences for its author: the place, the key, the fault, what was meant, the remedy.

Turns pydantic's findings into these sentences. It does not know files or command lines: `Place` is made by `document`.
"""

from __future__ import annotations

import datetime
import shlex
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pydantic_core import ErrorDetails

from autophage.errors import RecipeError
from autophage.recipe.keys import (
    APART,
    KEYS,
    REMEDIES,
    SWEEP,
    TABLES,
    Key,
    keys_of,
    meant_choice,
    meant_key,
    meant_table,
)
from autophage.recipe.syntax.literals import shown, toml_key, toml_value
from autophage.recipe.syntax.positions import Path
from autophage.recipe.tables.gate import GATE


@dataclass(frozen=True)
class Place:
    """Where something is written. `text` is for errors, `provenance` (without the column) for everything else."""

    text: str
    provenance: str
    order: tuple[int, int, int]
    override: bool = False

    def mended(self, dotted: str, value: object) -> str:
        """What to write here instead: a value in a file, a whole argument on the command line."""
        literal = toml_value(value)
        return f"--set {shlex.quote(f'{dotted}={literal}')}" if self.override else literal


@dataclass(frozen=True)
class Fault:
    place: Place
    wrong: str
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.place.text}: {self.wrong}", *self.remedies])


def raise_faults(faults: Iterable[Fault]) -> None:
    """One `RecipeError` with all faults as they are written, the file before --set; nothing if there are none."""
    found = sorted(faults, key=lambda fault: fault.place.order)
    if found:
        raise RecipeError("\n".join(dict.fromkeys(map(str, found))))


def unknown_key(place: Place, dotted: str, label: str | None = None) -> Fault:
    """A key that the schema does not have; `label` is how it is written where that differs."""
    table, _, _ = dotted.rpartition(".")
    wrong = f"{label or toml_key(dotted.split('.'))}: there is no such key"
    if dotted in TABLES:
        return Fault(place, f"{dotted} is a table, not a key", (f"[{dotted}] has: {', '.join(keys_of(dotted))}",))
    meant = meant_key(dotted)
    remedies = []
    if meant:
        remedies = [f"did you mean {' or '.join(map(_place_in_file, meant))}?", *(str(KEYS[key]) for key in meant)]
    if table in TABLES:
        remedies.append(f"[{table}] has: {', '.join(keys_of(table))}")
    elif not meant:
        remedies.append(_tables())
    return Fault(place, wrong, tuple(remedies))


def unknown_table(place: Place, name: str) -> Fault:
    meant = meant_table(name)
    guess = (f"did you mean {meant[0]}?",) if meant else ()
    return Fault(place, f"[{toml_key([name])}]: there is no such table", (*guess, _tables()))


def wrong_value(place: Place, key: Key, value: object, error: ErrorDetails, label: str | None = None) -> Fault:
    """`value` is what `error` is about: the key's value, or one item of its list."""
    wrong = f"{label or key.dotted} = {shown(value)}: {_complaint(key, value, error)}"
    meant = _meant_value(key, value, in_list=len(error["loc"]) > 1)
    if meant is None:
        return Fault(place, wrong, (str(key),))
    better = toml_value(meant) if label else place.mended(key.dotted, meant)  # one of several values: the value alone
    return Fault(place, wrong, (f"did you mean {better}?", str(key)))


class Places(Protocol):
    """What knows where a path is written, key and value."""

    def key_place(self, path: Path) -> Place: ...

    def value_place(self, path: Path) -> Place: ...


def from_pydantic(errors: list[ErrorDetails], places: Places, name: str) -> list[Fault]:
    """Faults of a whole recipe; `name` is one that the run could have."""
    faults = []
    for error in errors:
        path = error["loc"]
        dotted = ".".join(str(part) for part in path[:2])
        if error["type"] == "missing":
            remedies = (f"write at the top, for example: name = {toml_value(name)}", str(KEYS[dotted]))
            faults.append(Fault(places.key_place(path), f"{dotted} is missing", remedies))
        elif error["type"] == "extra_forbidden" and len(path) == 1 and _is_table(error["input"]):
            faults.append(unknown_table(places.key_place(path), str(path[0])))
        elif error["type"] == "extra_forbidden":
            faults.append(unknown_key(places.key_place(path), dotted, toml_key([str(part) for part in path])))
        elif dotted in TABLES:
            faults.append(not_a_table(places.value_place(path), dotted, error["input"]))
        else:
            key = KEYS[dotted] if dotted in KEYS else KEYS[str(path[0])]
            in_table = error if not key.table else {**error, "loc": path[1:]}
            faults.append(wrong_value(places.value_place(path), key, error["input"], in_table))
    return faults


def not_a_table(place: Place, table: str, value: object) -> Fault:
    wrong = f"{table} = {shown(value)}: {table} is a table, and this is {_kind(value)}"
    if table == SWEEP:
        return Fault(place, wrong, ('write, for example: sweep = {"mix.alpha" = [1.0, 0.5]}',))
    if table == REMEDIES:
        return Fault(place, wrong, ("write, for example: [remedies.half] and below it mix.alpha = 0.5",))
    return Fault(place, wrong, (f"[{table}] has: {', '.join(keys_of(table))}",))


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _tables() -> str:
    return f"the tables of a recipe: {', '.join(f'[{table}]' for table in (*TABLES, *APART))}, [[{GATE}]]"


def _place_in_file(dotted: str) -> str:
    return dotted if "." in dotted else f"{dotted} (above the first [table])"


def _complaint(key: Key, value: object, error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "float_type" and type(value) is int:  # beyond what a float holds
        return "too large"
    if kind in ("less_than", "less_than_equal"):
        return "too large"
    if kind in ("greater_than", "greater_than_equal"):
        return "too small"
    if kind == "literal_error":
        return "not a choice" if isinstance(value, str) else f"{_kind(value)}, not a text"
    if kind == "string_too_short":
        return "empty"
    if kind == "string_too_long":
        return f"{len(str(value))} characters are too many"
    if kind == "too_short":
        return "an empty list"
    if kind == "string_pattern_mismatch":
        return "a character that is not allowed"
    if kind == "finite_number":
        return "not a finite number"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind.endswith("_type"):
        expected = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list"}
        in_list = len(error["loc"]) > 1
        return f"{_kind(value)}, not {'a text' if in_list else expected.get(key.type, 'a text')}"
    return error["msg"]


def _kind(value: object) -> str:
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a truth value"),
        (int, "a whole number"),
        (float, "a decimal number"),
        (str, "a text"),
        (list, "a list"),
        (dict, "a table"),
        ((datetime.date, datetime.time), "a date or time"),
    ]
    return next((words for kind, words in kinds if isinstance(value, kind)), type(value).__name__)


def _meant_value(key: Key, value: object, in_list: bool) -> object | None:
    """A value that the key would take and that `value` looks like; None where there is none."""
    if isinstance(value, str) and key.choices:
        close = meant_choice(value, key.choices)
        if close:
            return close[0] if in_list or key.type != "array" else [close[0]]
    return next((guess for guess in _readings(key, value) if not key.validate(guess)[1]), None)


def _readings(key: Key, value: object) -> list[object]:
    if isinstance(value, str):
        words = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
        readings: list[object] = [words[value.lower()]] if value.lower() in words else []
        try:
            document = tomllib.loads(f"value = {value}")
        except (tomllib.TOMLDecodeError, ValueError, RecursionError):
            document = {}
        return [*readings, *document.values(), [value]]
    if isinstance(value, float) and key.type == "integer" and value.is_integer():
        return [int(value)]
    if isinstance(value, (bool, int, float)) and key.type == "string":
        return [toml_value(value)]
    return []
