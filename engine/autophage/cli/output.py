"""Print facts: aligned columns for people, JSON for programs.

Text from recipes, run directories and models passes `safe`. JSON is ASCII and carries no control characters.
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
    Parameter(name="--set", negative="", help="Replace one key of the recipe: key=value, such as mix.alpha=0.5."),
]

Profile = Annotated[
    str | None,
    Parameter(show_default=False, help="Scale of the recipe, such as tiny or full; `show` lists a recipe's profiles."),
]


def say(text: object = "") -> None:
    """Print one line for people."""
    print(safe(text))


def print_json(facts: Any) -> None:
    """Print `facts` as JSON. NaN and infinities become null."""
    print(json.dumps(_plain(facts), indent=2, default=str, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns two spaces apart. A header that starts with `>` aligns its column to the right."""
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
