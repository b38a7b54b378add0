"""Faults against the schema, in words for the author of a recipe: unknown key, unknown table, wrong value, missing key.

Each fault names the key, the error, the likely meaning and the allowed values. Pydantic's errors become such faults.
"""

from __future__ import annotations

import datetime
import tomllib

from pydantic_core import ErrorDetails

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
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault, Location
from autophage.recipe.syntax.literals import shown, toml_key, toml_value
from autophage.recipe.tables.gate import GATE


def unknown_key(location: Location, dotted: str, label: str | None = None) -> Fault:
    """Return the fault of a key that the schema does not have, with the keys that it may mean.

    Args:
        label: The key as written, if that differs from `dotted`.
    """
    table, _, _ = dotted.rpartition(".")
    wrong = f"{label or toml_key(dotted.split('.'))}: there is no such key"
    if dotted in TABLES:
        return Fault(location, f"{dotted} is a table, not a key", (f"[{dotted}] has: {', '.join(keys_of(dotted))}",))
    meant = meant_key(dotted)
    remedies = []
    if meant:
        remedies = [f"did you mean {' or '.join(map(_place_in_file, meant))}?", *(str(KEYS[key]) for key in meant)]
    if table in TABLES:
        remedies.append(f"[{table}] has: {', '.join(keys_of(table))}")
    elif not meant:
        remedies.append(_tables())
    return Fault(location, wrong, tuple(remedies))


def unknown_table(location: Location, name: str) -> Fault:
    meant = meant_table(name)
    guess = (f"did you mean {meant[0]}?",) if meant else ()
    return Fault(location, f"[{toml_key([name])}]: there is no such table", (*guess, _tables()))


def wrong_value(location: Location, key: Key, value: object, error: ErrorDetails, label: str | None = None) -> Fault:
    """Return the fault of a value that `key` does not take, with the value that it may mean.

    Args:
        value: The value of the key, or one item of its list.
        error: Pydantic's error about the value.
        label: The key as written, if that differs from the dotted key.
    """
    wrong = f"{label or key.dotted} = {shown(value)}: {_complaint(key, value, error)}"
    meant = _meant_value(key, value, in_list=_in_list(key, error))
    if meant is None:
        return Fault(location, wrong, (str(key),))
    better = (
        toml_value(meant) if label else location.replacement(key.dotted, meant)
    )  # one of several values: the value alone
    return Fault(location, wrong, (f"did you mean {better}?", str(key)))


def from_pydantic(errors: list[ErrorDetails], document: TomlDocument, name: str) -> list[Fault]:
    """Return pydantic's errors about a whole recipe as faults.

    Args:
        name: Suggestion for a missing name of the run.
    """
    faults = []
    for error in errors:
        path = error["loc"]
        dotted = ".".join(str(part) for part in path[:2])
        if error["type"] == "missing":
            remedies = (f"write at the top, for example: name = {toml_value(name)}", str(KEYS[dotted]))
            faults.append(Fault(document.key_location(path), f"{dotted} is missing", remedies))
        elif error["type"] == "extra_forbidden" and len(path) == 1 and _is_table(error["input"]):
            faults.append(unknown_table(document.key_location(path), str(path[0])))
        elif error["type"] == "extra_forbidden":
            faults.append(unknown_key(document.key_location(path), dotted, toml_key([str(part) for part in path])))
        elif dotted in TABLES:
            faults.append(not_a_table(document.value_location(path), dotted, error["input"]))
        else:
            key = KEYS[dotted] if dotted in KEYS else KEYS[str(path[0])]
            in_table = error if not key.table else {**error, "loc": path[1:]}
            faults.append(wrong_value(document.value_location(path), key, error["input"], in_table))
    return faults


def not_a_table(location: Location, table: str, value: object) -> Fault:
    wrong = f"{table} = {shown(value)}: {_kind(value)}, but {table} is a table"
    if table == SWEEP:
        return Fault(location, wrong, ('write, for example: sweep = {"mix.alpha" = [1.0, 0.5]}',))
    if table == REMEDIES:
        return Fault(location, wrong, ("write, for example: [remedies.half] and below it mix.alpha = 0.5",))
    return Fault(location, wrong, (f"[{table}] has: {', '.join(keys_of(table))}",))


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
        return "not a choice" if isinstance(value, str) else f"{_kind(value)}, not a string"
    if kind == "string_too_short":
        return "empty"
    if kind == "string_too_long":
        return f"too long, with {len(str(value))} characters"
    if kind == "too_short":
        return "an empty list"
    if kind == "string_pattern_mismatch":
        return "contains a character that is not allowed"
    if kind == "finite_number":
        return "not a finite number"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind.endswith("_type"):
        expected = {"integer": "an integer", "number": "a number", "boolean": "true or false", "array": "a list"}
        return f"{_kind(value)}, not {'a string' if _in_list(key, error) else expected.get(key.type, 'a string')}"
    return error["msg"]


def _in_list(key: Key, error: ErrorDetails) -> bool:
    return key.type == "array" and len(error["loc"]) > 1


def _kind(value: object) -> str:
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "a table"),
        ((datetime.date, datetime.time), "a date or time"),
    ]
    return next((words for kind, words in kinds if isinstance(value, kind)), type(value).__name__)


def _meant_value(key: Key, value: object, in_list: bool) -> object | None:
    """Return a value that the key takes and that `value` resembles; None if there is none."""
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
