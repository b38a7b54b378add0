"""Print facts: aligned columns for people, JSON for programs.

Text from recipes, run directories and models passes `safe`. JSON is ASCII and carries no control characters.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from autophage.display import json_ready, safe

AsJson = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="Replace one key of the recipe: key=value, such as mix.alpha=0.5."),
]

Profile = Annotated[
    str | None,
    Parameter(show_default=False, help="Scale of the recipe, such as tiny or full; `show` lists a recipe's profiles."),
]


PIPED_WIDTH = 200
"""Width in characters of a table that goes to no terminal."""


def say(text: object = "") -> None:
    """Print `text` and a line end to standard output. Invisible characters are escaped."""
    print(safe(text))


def say_wrapped(text: object, indent: int = 0) -> None:
    """Print a text in lines that fit the terminal, each after `indent` spaces. A file or pipe gets one line."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    margin = " " * indent
    print(textwrap.fill(safe(text), width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False))


def print_json(facts: Any) -> None:
    """Print `facts` as indented JSON. NaN and infinities become null."""
    print(json.dumps(json_ready(facts), indent=2, default=str, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their headers as aligned columns.

    A header that starts with `>` aligns its column to the right, as numbers are.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=PIPED_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header.lstrip(">"), justify="right" if header.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    console.print(table)
