"""`--set key=value`: one value put over what the recipe file says.

The value is read as TOML and, where it is not TOML, taken as the plain text that a shell user meant. Whether it is a
right value for its key is not decided here: the whole recipe is validated once, after all overrides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from autophage.display import safe
from autophage.recipe.gates import GATE
from autophage.recipe.keys import APART, KEYS, PATHS, REMEDIES, SWEEP, TABLES
from autophage.recipe.syntax.document import Document, flat_sweep
from autophage.recipe.syntax.faults import Fault, Place, unknown_key
from autophage.recipe.syntax.positions import Path

PROVENANCE = "--set"


def apply_overrides(document: Document, overrides: Sequence[str]) -> list[Fault]:
    """Put each override into `document`, the last one of a key winning; faults of those that cannot be."""
    faults = []
    for number, text in enumerate(overrides):
        place = Place(f"--set {safe(text)}", PROVENANCE, (1, number, 0), override=True)
        fault = _apply(document, text, place)
        if fault is not None:
            faults.append(fault)
    return [*faults, *_swept(document)]


def _apply(document: Document, text: str, place: Place) -> Fault | None:
    key, equals, raw = text.partition("=")
    if not equals:
        return Fault(place, "has no value", ("write --set key=value, for example: --set mix.alpha=0.5",))
    if not text.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return Fault(place, "is not UTF-8 text", ())
    path = _key(key)
    if path is None:
        return Fault(place, f"{safe(key)!r} is not a key", ("write --set table.key=value",))
    value = _value(raw)
    if path[0] == SWEEP:
        return _sweep(document, path[1:], value, place)
    if path[0] == GATE:
        if len(path) > 1:
            return _all_gates(place, GATE)
        document.put(path, value, place)
        return None
    if path[0] == REMEDIES:
        return _remedies(document, path[1:], value, place)
    dotted = ".".join(path)
    if dotted == "profile":
        return Fault(place, "a profile is chosen before keys are set", (f"write --profile {safe(raw)}",))
    if len(path) == 1 and dotted in TABLES:
        fault = unknown_key(place, dotted)
        return Fault(place, fault.wrong, ("set one of its keys", *fault.remedies))
    if dotted not in KEYS:
        return unknown_key(place, dotted)
    if dotted in PATHS and not isinstance(value, (str, list, dict)):
        value = raw.strip()
    if len(path) == 2 and not isinstance(document.data.get(path[0], {}), dict):
        return None  # the file has a value where the table should be: that is the fault to report
    document.put(path, value, place)
    return None


def _sweep(document: Document, parts: tuple[str, ...], value: Any, place: Place) -> Fault | None:
    """`sweep={...}` replaces the sweep, so `sweep={}` clears it; `sweep.mix.alpha=[...]` replaces one list."""
    if not parts:
        if isinstance(value, dict):
            value = dict(_flat(value))
        document.put((SWEEP,), value, place)
    elif isinstance(document.data.get(SWEEP, {}), dict):
        document.put((SWEEP, ".".join(parts)), value, place)
    return None


def _remedies(document: Document, parts: tuple[str, ...], value: Any, place: Place) -> Fault | None:
    """`remedies.half.mix.alpha=0.5` replaces one setting, `remedies.half={...}` a remedy, and `remedies={}` clears them."""
    bundles = document.data.get(REMEDIES, {})
    if not isinstance(bundles, dict) or not all(isinstance(bundle, dict) for bundle in bundles.values()):
        return None  # what the file says is the fault to report
    if len(parts) == 1 and isinstance(value, dict):
        value = dict(_flat(value))
    elif not parts and isinstance(value, dict):
        value = {name: dict(_flat(bundle)) if isinstance(bundle, dict) else bundle for name, bundle in value.items()}
    name, setting = parts[:1], ".".join(parts[1:])
    if parts[1:2] == (GATE,) and len(parts) > 2:
        return _all_gates(place, f"{REMEDIES}.{parts[0]}.{GATE}")
    document.put((REMEDIES, *name, *([setting] if setting else [])), value, place)
    return None


def _all_gates(place: Place, dotted: str) -> Fault:
    return Fault(place, "gates are set all together", (f"write --set '{dotted}=[{{kind = \"novelty\"}}]'",))


def _flat(bundle: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for names, item in flat_sweep(bundle):
        yield ".".join(names), item


def _swept(document: Document) -> list[Fault]:
    """A value set for a key whose arms take theirs from the sweep would be silently unused."""
    sweep = document.data.get(SWEEP)
    faults = []
    for path, place in document.overrides.items():
        dotted = ".".join(map(str, path))
        if path[0] in APART or not isinstance(sweep, dict) or dotted not in sweep:
            continue
        where = document.key_place((SWEEP, dotted)).provenance
        value = place.text.partition("=")[2]
        remedies = (
            f"to give it this value only: --set 'sweep.{dotted}=[{value}]'",
            "to sweep nothing: --set 'sweep={}'",
        )
        faults.append(Fault(place, f"{dotted} is swept ({where}), so its arms would not use this value", remedies))
    return faults


def _key(text: str) -> tuple[str, ...] | None:
    """The parts of a dotted key, quoted parts unquoted; None where it is not one."""
    if "\n" in text:
        return None
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return None
    parts: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((part, table),) = table.items()
        parts.append(part)
    return tuple(parts) if table == 0 and parts else None


def _value(raw: str) -> Any:
    try:
        document = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):  # a TOMLDecodeError, mostly: then it is a plain text
        return raw
    return document["value"] if list(document) == ["value"] else raw


def path_of(dotted: str) -> Path:
    """The path of a key of the schema; the key of a sweep's entry, or of a remedy's, stays whole; a gate's number is one."""
    if dotted.startswith(f"{REMEDIES}."):
        _, name, key = dotted.split(".", 2)
        return (REMEDIES, name, key)
    if dotted.startswith(f"{SWEEP}."):
        return (SWEEP, dotted.removeprefix(f"{SWEEP}."))
    table, *names = dotted.split(".")
    return (table, int(names[0]), *names[1:]) if table == GATE else (table, *names)
