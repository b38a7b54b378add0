"""The headline numbers as a table, and every number as CSV.

The CSV is meant for spreadsheets, which run a cell that begins like a formula: such texts get a leading apostrophe.
"""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass
from typing import Any

from autophage.report.facts.catalog import LEARNERS, describe
from autophage.report.facts.load import RunFacts
from autophage.report.facts.series import Point, apart
from autophage.report.facts.words import change, interval, shown
from autophage.store.metrics_table import SCHEMA

HEADLINES = (
    *LEARNERS,
    "knowledge/accuracy", "knowledge/accuracy.head", "knowledge/accuracy.torso", "knowledge/accuracy.tail",
    "knowledge/confidence", "knowledge/confidently_wrong", "format/compliance", "questions/accuracy",
    "questions/generated_accuracy", "questions/dominant", "questions/compliance", "fact/ppl", "fluency/ppl_form",
    "fluency/ppl_human", "onpolicy/entropy", "onpolicy/varentropy", "text/distinct_2", "text/compression",
    "text/duplicate", "drift/kl_to_base", "tail/ppl_under_base", "tail/coverage",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


@dataclass(frozen=True)
class Cell:
    value: str
    interval: str
    n: str


@dataclass(frozen=True)
class Row:
    """`beyond` says whether the change is beyond both intervals; None where there is nothing to compare."""

    arm: str
    start: Cell | None
    end: Cell | None
    generation: int | None
    change: str
    beyond: bool | None


def headline_table(facts: RunFacts) -> list[tuple[str, list[Row]]]:
    """(label of the metric, one row per arm that has it)."""
    groups = []
    for metric in HEADLINES:
        rows = [_row(facts, arm.name, metric) for arm in facts.arms if facts.metrics.series(arm.name, metric)]
        if rows:
            groups.append((describe(metric).label, rows))
    return groups


def _row(facts: RunFacts, arm: str, metric: str) -> Row:
    start = facts.metrics.at(arm, metric, 0)
    ends = facts.metrics.ends(arm, metric)
    last = facts.metrics.last(arm, metric)
    end = last if last is not None and last.generation > 0 else None
    return Row(
        arm,
        None if start is None else _cell(metric, start),
        None if end is None else _cell(metric, end),
        None if end is None else end.generation,
        "" if ends is None else change(metric, ends[0].value, ends[1].value),
        None if ends is None else apart(*ends),
    )


def _cell(metric: str, point: Point) -> Cell:
    return Cell(shown(metric, point.value), interval(metric, point), "" if point.n is None else f"{point.n:,}")


def to_csv(rows: list[dict[str, Any]]) -> str:
    """All metric rows, in the columns of `metrics.parquet`; safe to open in a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    for row in rows:
        writer.writerow([guarded(row[name]) for name in SCHEMA.names])
    return buffer.getvalue()


def guarded(value: object) -> object:
    """A text that a spreadsheet would run as a formula, made a text again; numbers stay numbers."""
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA):
        return "'" + value
    return value


def csv_uri(rows: list[dict[str, Any]]) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(to_csv(rows).encode("utf-8", "replace")).decode(
        "ascii"
    )
