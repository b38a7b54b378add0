"""The verb `query`: SQL over a run's samples, tokens and metrics."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from autophage.cli.opening import arms_of, opened
from autophage.cli.output import AsJson, print_json, print_table, say
from autophage.display import safe, shortened
from autophage.errors import UserError

if TYPE_CHECKING:
    from autophage.runs.query import QueryResult

MOST_ROWS = 100
"""Rows that a terminal shows. `--csv` and `--json` print all."""
CELL = 60
"""Longest text of a cell in a terminal, in characters."""

AsCsv = Annotated[bool, Parameter(name="--csv", negative="", show_default=False, help="Print CSV.")]


def query(directory: Path, sql: str, /, *, as_csv: AsCsv = False, as_json: AsJson = False) -> int:
    """QueryResult a SQL query over a run, through DuckDB. Nothing is changed.

    The tables are samples (the corpora, with arm and generation), tokens (one row per generated token) and metrics.

    Args:
        directory: Run directory.
        sql: One SELECT statement; DESCRIBE samples lists columns.
    """
    from autophage.runs.query import query as answer_query

    if as_csv and as_json:
        raise UserError("--csv and --json: give one of them.")
    with opened(directory) as run:
        answer = answer_query(run, [arm.name for arm in arms_of(run)], sql)
        if as_json:
            _print_objects(answer)
        elif as_csv:
            _print_csv(answer)
        else:
            _print_rows(answer)
    return 0


def _print_objects(answer: QueryResult) -> None:
    repeated = [name for name, count in Counter(answer.columns).items() if count > 1]
    if repeated:
        raise UserError(f"The query has several columns {repeated[0]!r}. Name them with AS.")
    print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])


def _print_csv(answer: QueryResult) -> None:
    """Print an answer as CSV. A terminal gets invisible characters escaped, a file or pipe gets them as they are."""
    shows = sys.stdout.isatty()
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow(row)
        if lines.tell() > 1 << 16:
            _flush(lines, shows)
    _flush(lines, shows)


def _flush(lines: io.StringIO, shows: bool) -> None:
    text = lines.getvalue()
    sys.stdout.write(safe(text, keep="\n") if shows else text)
    lines.seek(0)
    lines.truncate()


def _print_rows(answer: QueryResult) -> None:
    rows = list(islice(answer.rows, MOST_ROWS + 1))
    shown = rows[:MOST_ROWS]
    numeric = [
        bool(shown) and all(row[place] is None or isinstance(row[place], int | float) for row in shown)
        for place in range(len(answer.columns))
    ]
    headers = [f">{name}" if right else name for name, right in zip(answer.columns, numeric, strict=True)]
    print_table(headers, [[_cell(value) for value in row] for row in shown])
    if len(rows) > MOST_ROWS:
        say(f"The first {MOST_ROWS} rows. --csv and --json print all; LIMIT and ORDER BY choose.")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else shortened(safe(value), CELL)
