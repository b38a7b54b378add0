"""Keys and values as TOML writes them: writing for resolved recipes and messages, and reading for --set.

Every character that is not printable is escaped, so that a recipe cannot break a file or a terminal. This module knows
strings, numbers, lists and tables alone.
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Sequence
from typing import Any

SHOWN = 70
"""Maximum characters of a value in a message. A whole system prompt would hide the sentence around it."""

LONGEST_DECIMAL = 14_000
"""Maximum bits of a decimal integer. Python refuses more than 4300 decimal digits; hexadecimal has no limit."""

_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_value(value: object) -> str:
    """Return `value` in TOML syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(character) or _escaped(character) for character in value) + '"'
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_key([name])} = {toml_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, int) and value.bit_length() > LONGEST_DECIMAL:
        return hex(value)  # the only way it can have been written: Python reads no decimal of this length
    return str(value)


def toml_key(path: Sequence[str]) -> str:
    """Return the parts of a key as a dotted TOML key: `["sweep", "mix.alpha"]` -> `sweep."mix.alpha"`.

    Parts that are not bare are quoted.
    """
    return ".".join(part if _BARE.fullmatch(part) else toml_value(part) for part in path)


def shown(value: object) -> str:
    """Return `value` in TOML syntax, cut to `SHOWN` characters."""
    text = toml_value(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def parse_key(text: str) -> tuple[str, ...] | None:
    """Return the parts of a dotted TOML key, without quotes; None if `text` is not a key."""
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


def parse_value(raw: str) -> Any:
    """Return the value that `raw` has as TOML, or `raw` itself if it is not TOML."""
    try:
        document = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):  # mostly TOMLDecodeError: a plain string
        return raw
    return document["value"] if list(document) == ["value"] else raw
