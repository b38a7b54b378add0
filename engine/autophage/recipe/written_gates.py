"""Validation of `[[gate]]` tables: each becomes the settings of its kind, or faults with line and column."""

from __future__ import annotations

from pydantic import ValidationError

from autophage.recipe.explain import wrong_value
from autophage.recipe.keys import Key, meant_choice, read_table
from autophage.recipe.offered import OfferError
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault
from autophage.recipe.syntax.literals import shown, toml_key, toml_value
from autophage.recipe.syntax.positions import KeyPath
from autophage.recipe.tables.gate import GATE, GateTable, gate_class, installed_gates

EXAMPLE = '[[gate]], and below it, for example: kind = "novelty"'


def check_gates(
    document: TomlDocument, written: object, path: KeyPath = (GATE,)
) -> tuple[list[GateTable], list[Fault]]:
    """Check the gates that a recipe has at `path`. Return their settings in order, and the faults.

    Args:
        written: The value at `path`. It should be a list of tables.
    """
    if not isinstance(written, list) or not all(isinstance(table, dict) for table in written):
        brackets = "one pair of brackets makes a single table" if isinstance(written, dict) else "this is another value"
        wrong = f"{GATE} is a list of tables, and {brackets}"
        return [], [Fault(document.key_location(path), wrong, (f"write {EXAMPLE}",))]
    gates: list[GateTable] = []
    faults: list[Fault] = []
    for number, table in enumerate(written):
        gate, found = _check(document, table, (*path, number))
        gates += [] if gate is None else [gate]
        faults += found
    return gates, faults


def _check(document: TomlDocument, table: dict[str, object], path: KeyPath) -> tuple[GateTable | None, list[Fault]]:
    kind = table.get("kind")
    if not isinstance(kind, str):
        wrong = f"{GATE}.kind is missing" if kind is None else f"{GATE}.kind = {shown(kind)}: not a string"
        return None, [Fault(document.value_location((*path, "kind")), wrong, (_offered(),))]
    try:
        model = gate_class(kind)
    except OfferError as error:
        meant = meant_choice(kind, installed_gates())
        location = document.value_location((*path, "kind"))
        guess = [f"did you mean {toml_value(one)}?" for one in meant if one != kind]
        return None, [Fault(location, f"{GATE}.kind = {shown(kind)}: {error}", (*guess, _offered()))]
    try:
        return model.model_validate(table), []
    except ValidationError as error:
        keys = read_table(GATE, model)
        return None, [_fault(document, keys, path, dict(one)) for one in error.errors(include_url=False)]


def _fault(document: TomlDocument, keys: dict[str, Key], path: KeyPath, error: dict[str, object]) -> Fault:
    """Return the fault for one of pydantic's errors about a gate's settings."""
    where = error["loc"]
    assert isinstance(where, tuple)
    if not where:  # an error about several settings at once
        return Fault(document.value_location((*path, "kind")), str(error["msg"]).removeprefix("Value error, "))
    dotted = f"{GATE}.{where[0]}"
    names = ", ".join(key.name for key in keys.values())
    if error["type"] == "extra_forbidden":
        meant = meant_choice(str(where[0]), [key.name for key in keys.values()])
        guess = [f"did you mean {one}?" for one in meant] + [str(keys[f"{GATE}.{one}"]) for one in meant]
        wrong = f"{toml_key([GATE, str(where[0])])}: there is no such key"
        return Fault(document.key_location((*path, *where)), wrong, (*guess, f"this [[{GATE}]] has: {names}"))
    if error["type"] == "missing":
        return Fault(document.value_location((*path, "kind")), f"{dotted} is missing", (str(keys[dotted]),))
    location = document.value_location((*path, *where))
    return wrong_value(location, keys[dotted], error["input"], error)  # type: ignore[arg-type]  # a copy of pydantic's


def _offered() -> str:
    return f"installed gates: {', '.join(installed_gates()) or 'none'}"
