"""Small drawings of a row: cells for generations, a progress bar, a sparkline.

They are plain strings of known width; callers add colours. Terminals without Unicode get ASCII. A sparkline has no
ASCII form and is left out there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """Characters that drawings consist of. `levels` rise from low to high; empty where curves cannot be drawn."""

    done: str
    running: str
    to_come: str
    bar: str
    rest: str
    arrow: str
    bullet: str
    levels: str


UNICODE = Glyphs("●", "◐", "○", "━", "─", "→", "·", "▁▂▃▄▅▆▇█")
ASCII = Glyphs("#", ">", ".", "=", "-", "->", "*", "")


def cells(committed: int, running: bool, total: int, width: int, glyphs: Glyphs) -> tuple[str, str, str]:
    """Return the cells of finished, running and remaining generations as three strings.

    `committed` of `total` generations are finished. The strings have min(total, width) cells together, at least one. If
    generations outnumber cells, a cell is full only if all its generations are finished.
    """
    places = max(1, min(total, width))
    done = committed * places // total if total else 0
    now = 1 if running and done < places else 0
    return glyphs.done * done, glyphs.running * now, glyphs.to_come * (places - done - now)


def bar(done: float, total: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """Return the full and the empty part of a progress bar of `width` characters.

    The bar is full only if everything is done. It is empty if `total` is 0.
    """
    share = min(1.0, max(0.0, done / total)) if total else 0.0
    full = math.floor(share * width)
    return glyphs.bar * full, glyphs.rest * (width - full)


def sparkline(values: Sequence[float], low: float, high: float, width: int, glyphs: Glyphs) -> str:
    """Draw each value as one character whose height places it between `low` and `high`.

    A series longer than `width` is thinned. Its first and last value stay. Without values or levels the text is empty.
    """
    if not glyphs.levels or not values or width < 1:
        return ""
    if len(values) > width:
        last = len(values) - 1
        values = [values[round(place * last / max(1, width - 1))] for place in range(width)]
    return "".join(_level(value, low, high, glyphs.levels) for value in values)


def _level(value: float, low: float, high: float, levels: str) -> str:
    """Return the character of a value on the scale from `low` to `high`.

    Values that are not finite are at the top, since a perplexity that overflows is high.
    """
    if not math.isfinite(value):
        return levels[-1]
    share = (value - low) / (high - low) if high > low else 0.0
    return levels[min(len(levels) - 1, max(0, int(share * len(levels))))]
