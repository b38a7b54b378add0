"""How facts are printed: aligned columns for people, JSON for programs.

Text that comes from recipes, run directories or models goes through `safe`; JSON is ASCII, so it cannot carry control
characters either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len

from autophage.live.format import safe

AsJson = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="key=value: replaces one key of the recipe, as in mix.alpha=0.5."),
]

Profile = Annotated[
    str | None,
    Parameter(show_default=False, help="The recipe at this scale, as in tiny or full; `show` lists what it has."),
]


def say(text: object = "") -> None:
    """One line for people."""
    print(safe(text))


def print_json(facts: Any) -> None:
    """`facts` on standard output; numbers that JSON does not have become null."""
    print(json.dumps(_plain(facts), indent=2, default=str, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns two spaces apart; a header that starts with `>` is of a column of numbers and stands at the right."""
    right = [header.startswith(">") for header in headers]
    lines = [[header.lstrip(">") for header in headers], *([safe(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        padded = []
        for cell, width, at_right in zip(line, widths, right, strict=True):
            gap = " " * (width - cell_len(cell))
            padded.append(gap + cell if at_right else cell + gap)
        print("  ".join(padded).rstrip())


def _plain(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {str(key): _plain(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_plain(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts
