"""`--set key=value`: a value that replaces that of the recipe file.

The value is read as TOML. If it is not TOML, it is a plain string, as a shell user means it. Values are not checked here: the
whole recipe is validated once, after all overrides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autophage.display import safe
from autophage.recipe.explain import unknown_key
from autophage.recipe.keys import APART, KEYS, PATHS, REMEDIES, SWEEP, TABLES
from autophage.recipe.syntax.document import TomlDocument, flat_items
from autophage.recipe.syntax.faults import Fault, Location
from autophage.recipe.syntax.literals import parse_key, parse_value
from autophage.recipe.tables.gate import GATE

PROVENANCE = "--set"


def apply_overrides(document: TomlDocument, overrides: Sequence[str]) -> list[Fault]:
    """Apply each `key=value` override to `document`, and return the faults of those that cannot apply.

    The last override of a key wins.
    """
    faults = []
    for number, text in enumerate(overrides):
        location = Location(f"--set {safe(text)}", PROVENANCE, (1, number, 0), override=True)
        fault = _apply(document, text, location)
        if fault is not None:
            faults.append(fault)
    return [*faults, *_swept(document)]


def _apply(document: TomlDocument, text: str, location: Location) -> Fault | None:
    key, equals, raw = text.partition("=")
    if not equals:
        return Fault(location, "has no value", ("write --set key=value, for example: --set mix.alpha=0.5",))
    if not text.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return Fault(location, "is not UTF-8 text", ())
    path = parse_key(key)
    if path is None:
        return Fault(location, f"{safe(key)!r} is not a key", ("write --set table.key=value",))
    value = parse_value(raw)
    if path[0] == SWEEP:
        return _sweep(document, path[1:], value, location)
    if path[0] == GATE:
        if len(path) > 1:
            return _all_gates(location, GATE)
        document.put(path, value, location)
        return None
    if path[0] == REMEDIES:
        return _remedies(document, path[1:], value, location)
    dotted = ".".join(path)
    if dotted == "profile":
        return Fault(location, "a profile is applied before keys are set", (f"write --profile {safe(raw)}",))
    if len(path) == 1 and dotted in TABLES:
        fault = unknown_key(location, dotted)
        return Fault(location, fault.wrong, ("set one of its keys", *fault.remedies))
    if dotted not in KEYS:
        return unknown_key(location, dotted)
    if dotted in PATHS and not isinstance(value, (str, list, dict)):
        value = raw.strip()
    if len(path) == 2 and not isinstance(document.data.get(path[0], {}), dict):
        return None  # the file has a value in place of the table; validation reports it
    document.put(path, value, location)
    return None


def _sweep(document: TomlDocument, parts: tuple[str, ...], value: Any, location: Location) -> Fault | None:
    """Apply an override of the sweep, and return its fault if there is one.

    `sweep={...}` replaces the sweep. `sweep.mix.alpha=[...]` replaces one list of it.
    """
    if not parts:
        if isinstance(value, dict):
            value = dict(_flat(value))
        document.put((SWEEP,), value, location)
    elif isinstance(document.data.get(SWEEP, {}), dict):
        document.put((SWEEP, ".".join(parts)), value, location)
    return None


def _remedies(document: TomlDocument, parts: tuple[str, ...], value: Any, location: Location) -> Fault | None:
    """Apply an override of remedies, and return its fault if there is one.

    `remedies.half.mix.alpha=0.5` replaces one setting, `remedies.half={...}` one remedy, `remedies={...}` all of them.
    """
    bundles = document.data.get(REMEDIES, {})
    if not isinstance(bundles, dict) or not all(isinstance(bundle, dict) for bundle in bundles.values()):
        return None  # validation reports the file's fault
    if len(parts) == 1 and isinstance(value, dict):
        value = dict(_flat(value))
    elif not parts and isinstance(value, dict):
        value = {name: dict(_flat(bundle)) if isinstance(bundle, dict) else bundle for name, bundle in value.items()}
    name, setting = parts[:1], ".".join(parts[1:])
    if parts[1:2] == (GATE,) and len(parts) > 2:
        return _all_gates(location, f"{REMEDIES}.{parts[0]}.{GATE}")
    document.put((REMEDIES, *name, *([setting] if setting else [])), value, location)
    return None


def _all_gates(location: Location, dotted: str) -> Fault:
    return Fault(location, "gates are set all together", (f"write --set '{dotted}=[{{kind = \"novelty\"}}]'",))


def _flat(bundle: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for names, item in flat_items(bundle):
        yield ".".join(names), item


def _swept(document: TomlDocument) -> list[Fault]:
    """Return the faults of overrides of swept keys. The arms would not use their values."""
    sweep = document.data.get(SWEEP)
    faults = []
    for path, location in document.overrides.items():
        dotted = ".".join(map(str, path))
        if path[0] in APART or not isinstance(sweep, dict) or dotted not in sweep:
            continue
        where = document.key_location((SWEEP, dotted)).provenance
        value = location.text.partition("=")[2]
        remedies = (
            f"to give it this value only: --set 'sweep.{dotted}=[{value}]'",
            "to remove the sweep: --set 'sweep={}'",
        )
        faults.append(Fault(location, f"{dotted} is swept ({where}), so the arms would not use this value", remedies))
    return faults
