"""Rows as data, and tables for people.

A row is one figure of one contender at one point. In a file it also carries the parameters of the point and the facts of
the machine, so that every line can be read alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness import BENCH
from harness.facts import ROOT
from harness.statistics import spread
from harness.turns import Taken

OURS = "autophage"
TEXT = 3
"""Columns of a table that hold text and stand at the left, unless said otherwise."""


@dataclass(frozen=True)
class Measurement:
    """Without values, `note` says why. `median`, `low` and `high` (quartiles) are of `values`, one a turn."""

    point: str
    contender: str
    figure: str
    unit: str
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float | None:
        return spread(self.values).median if self.values else None

    def record(
        self, benchmark: str, parameters: Mapping[str, object], facts: Mapping[str, object]
    ) -> dict[str, object]:
        quartiles = spread(self.values)._asdict() if self.values else {}
        return {"benchmark": benchmark, **asdict(self), **quartiles, "parameters": dict(parameters), **facts}


def rows_of(point: str, taken: Mapping[str, Taken], units: Mapping[str, str]) -> list[Measurement]:
    """One row a contender and figure; one without a figure where a contender never finished."""
    rows = []
    for contender, one in taken.items():
        for figure, values in one.values.items():
            rows.append(Measurement(point, contender, figure, units[figure], values, one.note))
        if not one.values:
            rows.append(Measurement(point, contender, "", "", note=one.note))
    return rows


def values_of(rows: Iterable[Measurement], point: str, contender: str, figure: str) -> list[float]:
    """The values of one row; empty where it is not there."""
    return next(
        (row.values for row in rows if (row.point, row.contender, row.figure) == (point, contender, figure)), []
    )


class File:
    """Rows as lines of JSON, each written when it is known: what breaks later takes nothing away."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def append(self, record: Mapping[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=str) + "\n")


def results_file(kind: str, device: str, date: str) -> Path:
    """Where results go unless somebody says otherwise: beside the benchmarks in a checkout, else where one stands."""
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    folder = BENCH / "results" if (ROOT / "pyproject.toml").is_file() else Path("autophage-bench")
    return folder / f"{kind}-{name}-{date[:10]}.jsonl"


HEADER = ("contender", "figure", "unit", "median", "quartiles", "turns")


def table(rows: Sequence[Measurement]) -> str:
    """Grouped by point, in the order measured; notes follow."""
    lines: list[str] = []
    for point in dict.fromkeys(row.point for row in rows):
        here = [row for row in rows if row.point == point]
        lines += ["", point, *aligned([HEADER, *(_cells(row) for row in here if row.values)])]
        notes = {row.contender: row.note for row in here if row.note}
        lines += [f"  {contender}: {note}" for contender, note in notes.items()]
    return "\n".join(lines)


def _cells(row: Measurement) -> tuple[str, ...]:
    low, median, high = spread(row.values)
    return row.contender, row.figure, row.unit, figure(median), f"{figure(low)}-{figure(high)}", str(len(row.values))


def figure(value: float | None) -> str:
    """Three digits, or all that stand before the point."""
    return "" if value is None else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def aligned(cells: Sequence[Sequence[str]], text: int = TEXT) -> list[str]:
    """Columns of equal width; numbers, which follow the first `text` columns, to the right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:text], widths, strict=False)]
        padded += [cell.rjust(width) for cell, width in zip(row[text:], widths[text:], strict=True)]
        lines.append("  " + "  ".join(padded).rstrip())
    return lines
