"""Measurements as data and as tables.

A measurement is one figure of one contender at one point. In a file it carries the parameters of the point and the facts of the
machine, so that every line is complete.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import BENCH
from harness.facts import ROOT
from harness.statistics import spread

if TYPE_CHECKING:
    from harness.turns import Taken

OURS = "autophage"
TEXT = 3
"""Default number of leading columns that hold text and are aligned left."""


@dataclass(frozen=True)
class Measurement:
    """Values of one figure, one a turn. `note` tells why there are none. `median`, `low` and `high` are their quartiles."""

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
    """One measurement for each contender and figure. A contender without a finished turn has one without a figure."""
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
    """A file of JSON lines. Each line reaches the disk at once, so that a process that is killed later loses nothing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def append(self, record: Mapping[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())


def results_file(kind: str, device: str, date: str) -> Path:
    """Default results file: beside the benchmarks in a checkout, else in the working directory."""
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    folder = BENCH / "results" if (ROOT / "pyproject.toml").is_file() else Path("autophage-bench")
    return folder / f"{kind}-{name}-{date[:10]}.jsonl"


HEADER = ("contender", "figure", "unit", "median", "quartiles", "turns")


def table(rows: Sequence[Measurement]) -> str:
    """Table grouped by point, in the order of measurement. Notes follow."""
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
    """Columns of equal width. The first `text` columns are aligned left, numbers right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:text], widths, strict=False)]
        padded += [cell.rjust(width) for cell, width in zip(row[text:], widths[text:], strict=True)]
        lines.append("  " + "  ".join(padded).rstrip())
    return lines
