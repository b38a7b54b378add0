"""Headline numbers as a table, and all numbers as CSV.

Spreadsheets run a cell that begins like a formula. The CSV puts an apostrophe before such a text.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from typing import Any

from autophage.report.facts.catalog import LEARNERS, describe
from autophage.report.facts.load import RunFacts
from autophage.report.facts.series import Point, apart
from autophage.report.facts.table import DASH, TableCell, TableRow
from autophage.report.facts.words import change, interval, shown
from autophage.store.metrics_table import SCHEMA

HEADLINES = (
    *LEARNERS,
    "knowledge/accuracy", "knowledge/accuracy.head", "knowledge/accuracy.torso", "knowledge/accuracy.tail",
    "knowledge/retention.head", "knowledge/retention.torso", "knowledge/retention.tail", "knowledge/generated_accuracy",
    "knowledge/confidence", "knowledge/confidently_wrong", "format/compliance", "questions/accuracy",
    "questions/generated_accuracy", "questions/dominant", "questions/compliance", "fact/ppl", "fluency/ppl_form",
    "fluency/ppl_human", "onpolicy/entropy", "onpolicy/varentropy", "text/distinct_2", "text/compression",
    "text/duplicate", "drift/kl_to_base", "tail/ppl_under_base", "tail/coverage",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def headline_table(facts: RunFacts) -> list[tuple[str, list[TableRow]]]:
    """Return pairs of a headline metric's label and its rows, one row for each arm.

    Cells are generation 0, the last generation, its number, the change, and the number of items. A change beyond both
    intervals looks `beyond`, any other `within`. Metrics that no arm has are left out.
    """
    groups = []
    for metric in HEADLINES:
        rows = [_row(facts, arm.name, metric) for arm in facts.arms if facts.metrics.series(arm.name, metric)]
        if rows:
            groups.append((describe(metric).label, rows))
    return groups


def _row(facts: RunFacts, arm: str, metric: str) -> TableRow:
    start = facts.metrics.at(arm, metric, 0)
    ends = facts.metrics.ends(arm, metric)
    last = facts.metrics.last(arm, metric)
    end = last if last is not None and last.generation > 0 else None
    moved = DASH if ends is None else change(metric, ends[0].value, ends[1].value)
    counted = end or start
    cells = [
        _cell(metric, start),
        _cell(metric, end),
        TableCell(DASH if end is None else str(end.generation)),
        TableCell(moved, look="beyond" if ends is not None and apart(*ends) else "within"),
        TableCell(DASH if counted is None or counted.n is None else f"{counted.n:,}"),
    ]
    return TableRow(arm, cells, arm)


def _cell(metric: str, point: Point | None) -> TableCell:
    return TableCell(DASH) if point is None else TableCell(shown(metric, point.value), interval(metric, point))


def to_csv(rows: list[dict[str, Any]], columns: Sequence[str] = SCHEMA.names) -> str:
    """Return rows as CSV text, safe for a spreadsheet. The columns are those of `metrics.parquet`, unless given."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guarded(row[name]) for name in columns])
    return buffer.getvalue()


def guarded(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula. All other values stay as they are."""
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA):
        return "'" + value
    return value


def csv_uri(rows: list[dict[str, Any]], columns: Sequence[str] = SCHEMA.names) -> str:
    """Return rows as a data URI of their CSV text."""
    text = to_csv(rows, columns).encode("utf-8", "replace")
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text).decode("ascii")
