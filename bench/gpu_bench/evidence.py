"""Rows of a file of JSON lines, each on the disk as soon as it is known. Standard library only.

A row is a `Measurement`, or a kernel's row of `kernel_bench`, with the part and the step. A step that ended has a row `seconds`
of the contender `step`. A failure has a note and no values, so that a later command tries again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.rows import File, Measurement

BENCHMARK = "first_gpu"
STEP = "step"
"""Contender of the row that says how a step ended."""
FAILED = "failed: "

Row = Mapping[str, Any]


def read(path: Path) -> list[Row]:
    """Rows of a file; none if it is missing. A last line that was cut off is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the process was killed while it wrote
            continue
    return [row for row in rows if row.get("benchmark") == BENCHMARK]


def ended(rows: Iterable[Row]) -> dict[str, bool]:
    """Steps that have ended, by key: True if the last attempt succeeded."""
    return {row["step"]: bool(row["values"]) for row in rows if row.get("contender") == STEP}


class Evidence:
    """Rows of one step. Rows with figures that an earlier command wrote are not measured again."""

    def __init__(self, path: Path, step: str, parts: str, facts: Row, parameters: Row) -> None:
        _close_last_line(path)
        self._file = File(path)
        self._step, self.parts = step, parts
        self.facts, self.parameters = dict(facts), dict(parameters)
        self.failures = 0
        self.earlier = read(path)

    def add(self, point: str, contender: str, figure: str, unit: str, values: Sequence[float], note: str = "") -> None:
        """Write one row at once."""
        row = Measurement(point, contender, figure, unit, [float(value) for value in values], note)
        self.write(row.record(BENCHMARK, self.parameters, self.facts))

    def write(self, record: Row) -> None:
        """Write any record, with the part and the step."""
        self._file.append({**record, "benchmark": BENCHMARK, "part": self.parts, "step": self._step})

    def fail(self, point: str, contender: str, why: str) -> None:
        self.failures += 1
        self.add(point, contender, "", "", [], FAILED + why)

    def values(self, point: str, contender: str, figure: str) -> list[float]:
        """Values of an earlier row of any step; empty if there are none."""
        found = [row for row in self.earlier if (row.get("point"), row.get("contender")) == (point, contender)]
        return next((row["values"] for row in reversed(found) if row.get("figure") == figure and row["values"]), [])


def _close_last_line(path: Path) -> None:
    """End a line that was cut off, so that the next row stands on its own."""
    if path.is_file() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
