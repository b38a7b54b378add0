"""Numbers and foreign text as a terminal may show them.

`safe` is the border that every name, note, error and corpus text crosses before it is printed: whatever could move the
cursor, colour the screen or reverse the reading direction is written out as an escape. Knows nothing about runs.
"""

from __future__ import annotations

import math
import unicodedata

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that make a terminal show text in another order than it is stored."""


def safe(text: object, keep: str = "") -> str:
    """`text` with control characters as visible escapes; `keep` lists those that may pass, e.g. a newline."""
    return "".join(
        character
        if character in keep
        or not (character in BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"))
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in str(text)
    )


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the last of them a full stop mark where something was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "."


def duration(seconds: float | None) -> str:
    """`4:05`, `1:02:03`, `2d 03:00:00`; a question mark where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, minutes, left = rest // 3600, rest // 60 % 60, rest % 60
    if days:
        return f"{days}d {hours:02d}:{minutes:02d}:{left:02d}"
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def count(number: float) -> str:
    """`812`, `12.3k`, `4.56M`, `7.00B`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if letter == "k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{letter}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes in binary units: `412 B`, `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def value(number: float | None) -> str:
    """A metric in about three digits; a dash where there is none."""
    if number is None:
        return "-"
    if not math.isfinite(number):
        return str(number)
    magnitude = abs(number)
    if magnitude >= 1e5 or 0 < magnitude < 1e-3:
        return f"{number:.1e}"
    return f"{number:.{2 if magnitude < 10 else 1 if magnitude < 100 else 0}f}"
