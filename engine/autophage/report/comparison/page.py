"""The page of a comparison: one self-contained HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.report.comparison.differences import RULE, MetricDifference, all_differences, headline_differences
from autophage.report.comparison.gather import (
    ArmDifferences,
    Comparison,
    arms_apart,
    run_line,
    summary_line,
    verdict_line,
)
from autophage.report.comparison.overlay import curve_figures, curve_name, difference_figure, looks, overlaid
from autophage.report.comparison.words import change_shown, interval_shown
from autophage.report.facts.catalog import describe
from autophage.report.facts.table import DASH, TableCell, TableRow
from autophage.report.facts.words import interval, shown
from autophage.report.frame import rendered
from autophage.report.tables import csv_uri
from autophage.store.atomic import write_bytes

TEMPLATE = "compare.html.jinja"
COLUMNS = ("run", "arm", "generation", "metric", "first", "value", "difference", "low", "high", "pairing")
"""Columns of the table of all differences as CSV."""
MAIN = ("main", "trajectory")


def write_comparison(compared: Comparison, path: Path) -> None:
    """Write the page of a comparison to the file `path`.

    Raises:
        UserError: The file cannot be written.
    """
    page = render_comparison(compared).encode("utf-8", "backslashreplace")
    try:
        write_bytes(path, page)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror}). Give the path of a file.") from error


def render_comparison(compared: Comparison) -> str:
    """Return the page of a comparison as HTML text."""
    curves, found = overlaid(compared), list(all_differences(compared.runs))
    figures = curve_figures(compared, curves)
    apart = difference_figure(compared, curves, found)
    styles = looks(compared)
    return rendered(
        TEMPLATE,
        [*figures, *apart],
        compared=compared,
        looks=styles,
        curves=[curve.name for curve in curves.arms],
        colours={run.letter: styles[curve_name(run.letter, compared.arms[0])].colour for run in compared.runs},
        lines={run.letter: run_line(run) for run in compared.runs},
        notes=[*(note for run in compared.runs for note in run.notes), *arms_apart(compared.runs)],
        verdicts=[(one.run, verdict_line(one)) for one in compared.same],
        summaries=[(one.run, summary_line(one)) for one in compared.differences],
        main=[figure for figure in figures if figure.key in MAIN],
        more=[figure for figure in figures if figure.key not in MAIN],
        apart=apart,
        rule=RULE,
        numbers_of=[(one, _table(one)) for one in compared.differences if headline_differences(one.metrics)],
        caption="A colour is a run, a dash and a marker are an arm",
        seeds=max(len(run.group(arm)) for run in compared.runs for arm in compared.arms),
        csv=csv_uri([_csv_row(one) for one in found], COLUMNS),
        values=len(found),
    )  # fmt: skip


def _table(found: ArmDifferences) -> list[TableRow]:
    return [_row(one) for one in headline_differences(found.metrics)]


def _row(one: MetricDifference) -> TableRow:
    metric = one.metric
    cells = [
        TableCell(shown(metric, one.theirs.value), interval(metric, one.theirs)),
        TableCell(shown(metric, one.ours.value), interval(metric, one.ours)),
        TableCell(change_shown(metric, one.found.value), look="beyond" if one.differs else "within"),
        TableCell(interval_shown(metric, one.found) or DASH),
        TableCell(one.pairing if one.found.interval else DASH),
    ]
    return TableRow(describe(metric).label, cells)


def _csv_row(one: MetricDifference) -> dict[str, Any]:
    bounds = one.found.interval or (None, None)
    values = (one.run, one.arm, one.generation, one.metric, one.theirs.value, one.ours.value, one.found.value)
    return dict(zip(COLUMNS, (*values, *bounds, one.pairing), strict=True))
