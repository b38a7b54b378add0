"""Metrics as readable numbers, and text for plotly and for scripts.

jinja2 escapes HTML. `plotly_text` and `script_json` escape text for the two languages that jinja2 does not see.
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
    """Format a number with about three significant digits, without an exponent below a million."""
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
    """Format a share from 0 to 1 as a percentage: `31%`, `2.4%`."""
    return f"{100 * value:.0f}%" if abs(value) >= 0.0995 or value == 0 else f"{100 * value:.1f}%"


def shown(metric: str, value: float) -> str:
    """Format a value of a metric: as a percentage for a share, else as a number."""
    return percent(value) if describe(metric).kind == "share" else number(value)


def interval(metric: str, point: Point) -> str:
    """Format the interval of a metric's point as `[27%, 35%]`; empty if the point has none."""
    bounds = point.interval
    return "" if bounds is None else f"[{shown(metric, bounds[0])}, {shown(metric, bounds[1])}]"


def change(metric: str, start: float, end: float) -> str:
    """Format the change of a metric: in points for shares, else in percent of the start.

    A threefold value or more is given in times, such as `3.2 times`.
    """
    if describe(metric).kind == "share":
        return f"{100 * (end - start):+.1f} points"
    if start == 0:
        return "from zero"
    ratio = end / start
    return f"{ratio:.1f} times" if ratio >= 3 else f"{100 * (ratio - 1):+.0f}%"


def moment(time: float) -> str:
    """Format seconds since the epoch as `2026-03-01 14:05 UTC`; empty for a time outside of the calendar."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return ""


def plotly_text(text: str) -> str:
    """Escape `text` for plotly, whose names and hovers accept a subset of HTML (`<b>`, `<a href>`)."""
    return escape(safe(text, keep="\n"), quote=False)


def script_json(value: Any) -> str:
    """Return `value` as JSON that can stand inside `<script>`.

    No text in it can end the element or open a comment.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
