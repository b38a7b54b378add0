"""Differences of metrics as readable numbers."""

from __future__ import annotations

from autophage.metrics.intervals import Estimate
from autophage.report.facts.catalog import describe
from autophage.report.facts.words import number


def change_shown(metric: str, value: float) -> str:
    """Format a difference: in points for shares, else as a number, with its sign."""
    if describe(metric).kind == "share":
        points = round(100 * value, 1) + 0.0  # no negative zero
        return f"+{points:.1f} pt" if points > 0 else f"{points:.1f} pt"
    return f"+{number(value)}" if value > 0 else number(value)


def interval_shown(metric: str, found: Estimate) -> str:
    """Format the interval of a difference, such as `[-3.1, +0.4]`; empty if it has none."""
    if found.interval is None:
        return ""
    return f"[{', '.join(change_shown(metric, bound).removesuffix(' pt') for bound in found.interval)}]"
