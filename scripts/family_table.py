"""The tables of `docs/guide/models.md`, from the rows that `scripts/families.py` keeps in `docs/generate/models.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "docs" / "generate" / "models.json", ROOT / "docs" / "guide" / "models.md"
METHODS = ("lora", "full")
WORKS = "works"

Found = Mapping[str, Any]


def kept() -> dict[str, dict[str, Any]]:
    """Return the kept rows by name."""
    rows: dict[str, dict[str, Any]] = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return rows


def page_with_tables(page: str, rows: Mapping[str, Found]) -> str:
    """Return the page with its tables made again."""
    plain = [row for row in rows.values() if not row["told"]]
    varied = [row for row in rows.values() if row["told"]]
    for name, text in {
        "measured": measured(rows),
        "families": table(plain, "family (`model_type`)", lambda row: f"`{row['family']}`"),
        "folders": table(varied, "model folder", lambda row: f"`{row['family']}`: {row['told']}"),
        "refusals": refusals(rows),
    }.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no place for the {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def measured(rows: Mapping[str, Found]) -> str:
    """Return the versions and the days of the rows, in words."""
    versions = ", ".join(sorted({row["vllm"] for row in rows.values()}))
    days = sorted({row["date"] for row in rows.values()})
    return f"Measured with {versions} on {' to '.join(dict.fromkeys((days[0], days[-1])))}."


def table(rows: Sequence[Found], header: str, label: Callable[[Found], str]) -> str:
    """Return a table with a line for each model and a column for each method."""
    lines = [f"| {header} | `lora` | `full` |", "|---|---|---|"]
    named: dict[str, dict[str, str]] = {}
    for row in rows:
        named.setdefault(label(row), {})[row["method"]] = cell(row)
    lines += [
        f"| {name} | {' | '.join(cells.get(method, '') for method in METHODS)} |" for name, cells in named.items()
    ]
    return "\n".join(lines)


def cell(row: Found) -> str:
    """Return the outcome of a row. A number is the largest difference of log-probs between sampler and trainer."""
    return f"{row['canary']:.1e}" if row["outcome"] == WORKS else f"**{row['outcome']}**"


def refusals(rows: Mapping[str, Found]) -> str:
    """Return every message with the rows that got it."""
    told: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row["outcome"] != WORKS:
            told.setdefault(re.sub(r"^model(\.path =)? '[^']*': ", "", row["message"]), []).append(f"`{name}`")
    return "\n".join(f"- {', '.join(names)}: {message}" for message, names in told.items())
