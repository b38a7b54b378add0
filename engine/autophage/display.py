"""Numbers, durations and foreign text for people: in a terminal, in messages and in the report.

Names, notes, errors and corpus text cross `safe` or `visible` before they are shown. Both replace each character that
could move the cursor, colour the screen or reverse the reading direction. The module knows nothing about runs.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that have no look of their own.

Among them are control characters, bidirectional overrides and zero-width joiners, which can disguise a text.
"""
JOINER = "\u200d"
PICTOGRAPHS = frozenset({"So", "Sk", "Mn"})
"""Unicode categories of the characters that `JOINER` joins to one emoji."""


def safe(text: object, keep: str = "") -> str:
    """Return `text` with its invisible characters escaped, as in `\\x1b`. Characters in `keep` stay as they are."""
    return "".join(piece for piece, _ in visible(str(text), keep))


def visible(text: str, keep: str = "\n") -> list[tuple[str, bool]]:
    """Cut `text` into runs of visible and of escaped characters, each as (characters, is an escape).

    Invisible characters are escaped. Those in `keep` stay as they are.
    """
    runs: list[tuple[str, bool]] = []
    before = ""
    for character in text:
        category = unicodedata.category(character)
        joins = character == JOINER and before in PICTOGRAPHS
        hidden = category in INVISIBLE and character not in keep and not joins
        before = category
        piece = character.encode("unicode_escape", "surrogatepass").decode("ascii") if hidden else character
        if runs and runs[-1][1] == hidden:
            runs[-1] = (runs[-1][0] + piece, hidden)
        else:
            runs.append((piece, hidden))
    return runs


def shortened(text: str, width: int) -> str:
    """Cut `text` to at most `width` characters. A full stop marks the cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "."


def duration(seconds: float | None) -> str:
    """Format seconds, as in `4.2 s` or `2 min 03 s` or `2 d 03 h`. An unknown duration is `?`."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 10:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def count(number: float) -> str:
    """Format a count, as in `812` or `12.3k` or `4.56M`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if letter == "k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{letter}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Format a number of bytes in binary units, as in `412 B` or `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def value(number: float | None) -> str:
    """Format the value of a metric with about three digits. None is `-`."""
    if number is None:
        return "-"
    if not math.isfinite(number):
        return str(number)
    magnitude = abs(number)
    if magnitude >= 1e5 or 0 < magnitude < 1e-3:
        return f"{number:.1e}"
    return f"{number:.{2 if magnitude < 10 else 1 if magnitude < 100 else 0}f}"


def plural(count: int, one: str, many: str = "") -> str:
    """Format a number with its noun, as in `1 arm` or `3 arms`.

    `many` is the plural of `one`; without it an s is added.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(items: list[str]) -> str:
    """Join `items` as in `a, b and c`. No items give an empty string."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def json_ready(facts: Any) -> Any:
    """Return a copy of `facts` that JSON can hold.

    Keys become strings and tuples become lists. Numbers that are not finite become None.
    """
    if isinstance(facts, dict):
        return {str(key): json_ready(item) for key, item in facts.items()}
    if isinstance(facts, list | tuple):
        return [json_ready(item) for item in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts
