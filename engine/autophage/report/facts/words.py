"""Numbers and texts as people read them: percentages, durations, sizes, and control characters made visible.

Pure functions from values to plain strings. Escaping for HTML is left to jinja2; `plotly_text` and `script_json` are
the two places where text goes into a language that jinja2 does not see.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from html import escape
from typing import Any

from autophage.display import safe
from autophage.report.facts.catalog import describe
from autophage.report.facts.series import Point


def number(value: float) -> str:
    """Three significant digits or so, never in exponent form below a million."""
    size = abs(value)
    if not math.isfinite(value):
        return "not finite"
    if size >= 1e6:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 or value == 0 else f"{value:.2g}"


def percent(value: float) -> str:
    return f"{100 * value:.0f}%" if abs(value) >= 0.0995 or value == 0 else f"{100 * value:.1f}%"


def shown(metric: str, value: float) -> str:
    """`value` in the unit of its metric."""
    return percent(value) if describe(metric).kind == "share" else number(value)


def interval(metric: str, point: Point) -> str:
    """`[27%, 35%]`, or nothing where the point has no interval."""
    bounds = point.interval
    return "" if bounds is None else f"[{shown(metric, bounds[0])}, {shown(metric, bounds[1])}]"


def change(metric: str, start: float, end: float) -> str:
    """Points for shares, percent of the start for everything else."""
    if describe(metric).kind == "share":
        return f"{100 * (end - start):+.1f} points"
    if start == 0:
        return "from zero"
    ratio = end / start
    return f"{ratio:.1f} times" if ratio >= 3 else f"{100 * (ratio - 1):+.0f}%"


def moment(time: float) -> str:
    """`2026-03-01 14:05 UTC`; empty for a time that no clock has."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return ""


def plotly_text(text: str) -> str:
    """`text` for plotly, which reads a small HTML of its own (`<b>`, `<a href>`) in names and hovers."""
    return escape(safe(text, keep="\n"), quote=False)


def script_json(value: Any) -> str:
    """JSON that can stand inside `<script>`: nothing in it can end the element or open a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
