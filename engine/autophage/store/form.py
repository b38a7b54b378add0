"""Check the form of a manifest before its content is used: a run directory may come from another person.

Knows the type of each field. File names must stay inside the generation's folder. `manifest.check` compares the files
themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from autophage.host.naming import require_inside

LARGEST = 2**63
"""Exclusive bound of counts: columns of tables have 64 bits."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def require_form(fields: Mapping[str, Any]) -> None:
    """Check that a manifest has every field, each with the right type, and no other.

    Raises:
        ValueError: A field is missing, unknown or of the wrong type; the message names the first.
    """
    for name in fields:
        if name not in _FORM:
            raise ValueError(f"{name!r} is no field of a manifest")
    for name, (right, wanted) in _FORM.items():
        if name not in fields:
            raise ValueError(f"it has no {name}")
        if not right(fields[name]):
            raise ValueError(f"{name} is not {wanted}")
    for name in fields.get("files", ()):
        require_inside(name)


def _whole(value: object) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _file(value: object) -> bool:
    return isinstance(value, dict) and _whole(value.get("bytes")) and _digest(value.get("sha256"))


def _table_of(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(right, value.values()))


def _text(value: object) -> bool:
    return isinstance(value, str)


def _weights(value: object) -> bool:
    return isinstance(value, dict) and all(
        type(one) in (int, float) if name.startswith("canary_") else _text(one) for name, one in value.items()
    )


_FORM: dict[str, tuple[Callable[[Any], bool], str]] = {
    "arm": (_text, "a text"),
    "generation": (_whole, "a whole number"),
    "parent": (lambda value: value is None or _digest(value), "a sha256"),
    "files": (_table_of(_file), "a table of files with bytes and sha256"),
    "counts": (_table_of(_whole), "a table of whole numbers"),
    "seeds": (_table_of(_whole), "a table of whole numbers"),
    "weights": (_weights, "a table of texts, with the canary's entries as numbers"),
    "versions": (_table_of(_text), "a table of texts"),
    "level": (_text, "a text"),
    "format": (_whole, "a whole number"),
    "notes": (lambda value: isinstance(value, dict), "a table"),
}
