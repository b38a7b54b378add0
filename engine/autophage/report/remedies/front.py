"""Retention against cost: one point for each remedy, and the Pareto front.

There is one panel for tokens and one for seconds. Names stand to the right of the points, each with a thin line to its
point. They are spread to keep them apart, since points at equal budgets share one column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autophage.display import duration
from autophage.metrics.intervals import mean_interval
from autophage.metrics.retention import front
from autophage.report.facts.words import number, percent, plotly_text
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel
from autophage.report.remedies.outcomes import Outcome, RemedyComparison

GAP = 0.05
"""Smallest vertical distance between two names, in units of accuracy."""
NARROWEST = 0.3
"""Smallest span of the costs in a panel, relative to the largest cost. Nearly equal costs must not look spread."""
LEAD = (
    "Mean accuracy of torso and tail against the cost of an arm over all its generations. The dotted line is the Pareto front: "
    "no other arm retains more at the same or a lower cost. Bars are 95% intervals over seeds."
)


def front_figure(found: RemedyComparison | None, looks: dict[str, Style]) -> list[Figure]:
    """Draw each remedy's accuracy against its tokens and against its seconds, with the Pareto front.

    The list is empty if no remedies are compared or knowledge was not measured.
    """
    if found is None:
        return []
    shown = [one for one in (found.naked, *found.outcomes) if one.retained and one.cost is not None]
    tokens = [float(one.cost.tokens) for one in shown if one.cost is not None]
    seconds = [one.cost.time for one in shown if one.cost is not None]
    panels = [_panel("Against tokens", shown, tokens, looks, "tokens sampled, trained on and scored")] if shown else []
    if shown and all(seconds):
        panels.append(_panel("Against time", shown, seconds, looks, "seconds of training, sampling and measuring"))
    return [Figure("front", "Cost of retention", panels, LEAD)] if panels else []


def _panel(title: str, shown: Sequence[Outcome], costs: list[float], looks: dict[str, Style], axis: str) -> Panel:
    values = [one.retention for one in shown]
    low, high = min(costs), max(costs)
    span = max(high - low, NARROWEST * high)
    left, names_at = low - 0.1 * span, high + 0.14 * span
    best = front(costs, values)
    traces = [_front_line([costs[place] for place in best], [values[place] for place in best])]
    heights = _spread(values)
    for one, cost, value, height in zip(shown, costs, values, heights, strict=True):
        traces += [
            _leader(one, (cost, value), (names_at, height), looks[one.arm]),
            _point(one, cost, value, looks[one.arm], title),
        ]
    layout = {
        "xaxis": {"title": {"text": axis}, "range": [left, names_at + 0.55 * span], "nticks": 4},
        "yaxis": {
            "title": {"text": "accuracy, torso and tail"},
            "range": [-0.02, 1.02],
            "tickformat": ".0%",
            "dtick": 0.25,
        },
        "hovermode": "closest",
    }
    return Panel(title, traces, layout)


def _front_line(costs: list[float], values: list[float]) -> dict[str, Any]:
    return {
        "x": costs, "y": values, "type": "scatter", "mode": "lines", "hoverinfo": "skip", "meta": "",
        "line": {"color": "--soft", "dash": "dot", "width": 1.4, "shape": "hv"},
    }  # fmt: skip


def _point(one: Outcome, cost: float, value: float, look: Style, title: str) -> dict[str, Any]:
    low, high = mean_interval(np.array(list(one.retained.values())))
    took = duration(cost) if title.endswith("time") else f"{number(cost)} tokens"
    words = f"<b>{plotly_text(one.name)}</b>  {percent(value)} for {took}"
    point: dict[str, Any] = {
        "x": [cost], "y": [value], "type": "scatter", "mode": "markers", "meta": one.arm, "name": plotly_text(one.name),
        "text": [words + (f"<br>{plotly_text(one.verdict)}" if one.verdict else "")],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 9},
    }  # fmt: skip
    if np.isfinite(low):
        above, below = min(high, 1.0) - value, value - max(low, 0.0)
        point["error_y"] = {
            "type": "data", "symmetric": False, "array": [above], "arrayminus": [below], "color": f"{look.colour}:0.5",
            "thickness": 1.2, "width": 0,
        }  # fmt: skip
    return point


def _leader(one: Outcome, point: tuple[float, float], name: tuple[float, float], look: Style) -> dict[str, Any]:
    """Return the plotly line from a remedy's point to its name, at the given (cost, accuracy) positions."""
    label = plotly_text(one.name) if one.verdict else "<b>naked loop</b>"
    return {
        "x": [point[0], name[0]], "y": [point[1], name[1]], "text": ["", f" {label}"], "type": "scatter",
        "mode": "lines+text", "textposition": "middle right", "textfont": {"color": look.colour, "size": 11},
        "hoverinfo": "skip", "meta": one.arm, "cliponaxis": False, "line": {"color": f"{look.colour}:0.35", "width": 1},
    }  # fmt: skip


def _spread(values: Sequence[float]) -> list[float]:
    """Return the heights of the names of points at the accuracies `values`, within 0 to 1.

    Names keep the points' order and are `GAP` apart. They are pushed up from below, then down from above, each as
    little as possible. Halfway between, they keep their distance.
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    heights = [0.0] * len(values)
    for way in (1, -1):
        reached = -math.inf
        for place in order[::way]:
            reached = max(way * values[place], reached + GAP)
            heights[place] += way * reached / 2
    lift = max(0.0, -min(heights, default=0.0)) - max(0.0, max(heights, default=0.0) - 1.0)
    return [height + lift for height in heights]
