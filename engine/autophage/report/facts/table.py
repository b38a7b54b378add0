"""Rows and cells of the page's tables."""

from __future__ import annotations

from dataclasses import dataclass

DASH = "\u2013"
"""Text of a cell without a value."""


@dataclass(frozen=True)
class TableCell:
    """A cell of a table in the report.

    `note` stands below the text, in smaller type. `look` is a CSS class of the note, or of the cell if it has no note.
    `title` appears under the pointer.
    """

    text: str
    note: str = ""
    look: str = ""
    title: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of a table in the report.

    `arm` names the arm whose colour marks the row. It is empty for a row about no arm.
    """

    name: str
    cells: list[TableCell]
    arm: str = ""
