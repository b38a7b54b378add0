"""Plotly panels as plain data: one small plot each.

The page's script adds fonts, sizes and the values of colours. Colours are names of CSS variables: `--arm0`, or
`--arm0:0.15` for 15% opacity. All text that plotly parses as HTML passes through `plotly_text`. The `meta` of each
trace names its arm, so the shared legend can hide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from autophage.report.facts.catalog import describe
from autophage.report.facts.series import Metrics, Point
from autophage.report.facts.words import interval, plotly_text, shown
from autophage.report.figures.colours import Style

BAND_OPACITY = 0.16
MOST_DECADES = 4
"""Powers of ten up to which an axis also has ticks in between."""
LOG_MARK = " (log scale)"
NARROWEST = 0.5
"""Smallest span of a perplexity axis, relative to its lowest value. A change of 5% must not fill a picture."""
MEASURED, THEORY = "learner/", "theory/"
"""Prefixes of a learner's metrics and of their closed forms. Both are drawn in one panel."""
LOGARITHMIC = 20.0
"""Ratio of highest to lowest perplexity above which an axis is logarithmic. On a linear axis its start would be flat.
"""


class Named(Protocol):
    """An arm with its name. The figures draw a line for each."""

    @property
    def name(self) -> str: ...


class Plotted(Protocol):
    """Arms and metrics that figures draw: one run, or several laid over each other."""

    @property
    def arms(self) -> Sequence[Named]: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def horizon(self) -> int:
        """Last generation of a time axis."""
        ...

    @property
    def knows_facts(self) -> bool:
        """True if the accuracy of answers to probes was measured."""
        ...


@dataclass(frozen=True)
class Panel:
    """One plotly plot with its text.

    `traces` and `layout` are plotly's. `title` and `note` are text around the plot. `metric` is empty for a plot of
    several metrics.
    """

    title: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    note: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, with a title.

    `lead` tells the reader where to look. `legend` holds (text, colour) pairs.
    """

    key: str
    title: str
    panels: list[Panel]
    lead: str = ""
    wide: bool = False
    legend: list[tuple[str, str]] = field(default_factory=list)

    @property
    def note(self) -> str:
        """The note that all panels share; empty if they differ or there is only one."""
        notes = {panel.note for panel in self.panels}
        return notes.pop() if len(notes) == 1 and len(self.panels) > 1 else ""

    @property
    def intervals(self) -> bool:
        """True if some panel shows intervals."""
        return any(
            "error_y" in trace or trace.get("fill") == "toself" for panel in self.panels for trace in panel.traces
        )


def share_height(panels: Sequence[Panel]) -> None:
    """Give all panels of a figure the same y axis, from 0 to just above their highest point."""
    highest = max(y for panel in panels for trace in panel.traces for y in trace["y"])
    for panel in panels:
        panel.layout["yaxis"]["range"] = [0, 1.05 * highest]


def metric_panel(facts: Plotted, looks: dict[str, Style], metric: str, title: str = "") -> Panel:
    """Draw a metric over generations as one line for each arm.

    Intervals are bands. The closed form of a learner's metric is a dashed line. An empty `title` stands for the
    metric's label.
    """
    traces: list[dict[str, Any]] = []
    values: list[float] = []
    for arm in facts.arms:
        points = facts.metrics.series(arm.name, metric)
        if points:
            values += [point.value for point in points]
            traces += _lines(arm, points, metric, looks[arm.name])
        expected = facts.metrics.series(arm.name, theory_of(metric)) if metric.startswith(MEASURED) else []
        if points and expected:
            values += [point.value for point in expected]
            traces.append(_theory(arm, expected, metric, looks[arm.name]))
    meaning = describe(metric)
    if meaning.kind == "positive":
        values = [value for value in values if value > 0] or values
    logarithmic = meaning.kind in ("perplexity", "positive") and _needs_logarithm(values)
    layout = {
        "xaxis": generation_axis(facts),
        "yaxis": _value_axis(metric, values, logarithmic),
        "hovermode": "x unified",
    }
    return Panel((title or meaning.label) + LOG_MARK * logarithmic, traces, layout, meaning.note, metric)


def theory_of(metric: str) -> str:
    """Return the name of the metric that holds the closed form of a learner's metric."""
    return THEORY + metric.removeprefix(MEASURED)


def generation_axis(facts: Plotted) -> dict[str, Any]:
    """Return the plotly axis of generations, the same for every panel of a run.

    An unfinished run has room for the generations to come.
    """
    last = facts.horizon
    margin = 0.03 * last + 0.12
    return {
        "range": [-margin, last + margin],
        "dtick": max(1, -(-last // 8)),
        "tick0": 0,
        "title": {"text": "generation"},
    }


def trajectory_panel(facts: Plotted, looks: dict[str, Style], across: str, up: str) -> Panel | None:
    """Draw the path of each arm through the plane of two metrics.

    Metric `across` is horizontal, `up` vertical. The last generation labels a path. Without an arm of two points the
    result is None.
    """
    traces: list[dict[str, Any]] = []
    for arm in facts.arms:
        pairs = [
            (x, y) for x in facts.metrics.series(arm.name, across)
            if (y := facts.metrics.at(arm.name, up, x.generation)) is not None
        ]  # fmt: skip
        if len(pairs) < 2:
            continue
        look, last = looks[arm.name], len(pairs) - 1
        labels = [f" {x.generation}" if place == last else "" for place, (x, _) in enumerate(pairs)]
        hovers = [
            f"<b>{plotly_text(arm.name)}</b>, generation {x.generation}"
            f"<br>{describe(up).label} {shown(up, y.value)}<br>{describe(across).label} {shown(across, x.value)}"
            for x, y in pairs
        ]
        traces.append(
            {
                "x": [x.value for x, _ in pairs],
                "y": [y.value for _, y in pairs],
                "text": labels,
                "hovertext": hovers,
                "mode": "lines+markers+text",
                "type": "scatter",
                "name": plotly_text(arm.name),
                "meta": arm.name,
                "line": {"color": look.colour, "dash": look.dash, "width": 2, "shape": "linear"},
                "marker": {"color": look.colour, "symbol": look.symbol, "size": 8},
                "hoverinfo": "text",
                "textposition": "middle right",
                "cliponaxis": False,
            }
        )
    if not traces:
        return None
    vertical = {**_value_axis(up, [], False), "title": {"text": describe(up).label.lower()}}
    layout = {
        "xaxis": {
            "title": {"text": describe(across).label.lower()},
            "range": wide_range([x for t in traces for x in t["x"]]),
        },
        "yaxis": vertical,
        "hovermode": "closest",
    }
    return Panel("", traces, layout)


def wide_range(values: list[float]) -> list[float]:
    """Return the bounds of an axis around perplexities, at least as far apart as `NARROWEST` demands."""
    low, high = perplexity_bounds(values)
    room = 0.04 * (high - low)
    return [low - room, high + room]


def perplexity_bounds(values: list[float]) -> tuple[float, float]:
    """Return the lowest and the highest value of a perplexity axis.

    It starts at 1 (certainty) if the lowest value is below 2, else at the lowest value.
    """
    low = 1.0 if 1.0 <= min(values) < 2.0 else min(values)
    return low, max(*values, min(values) * (1 + NARROWEST))


def share_scale(panels: list[Panel]) -> list[Panel]:
    """Return the panels with one common vertical axis, which makes their heights comparable.

    The axis is logarithmic if needed. A single panel stays as it is.
    """
    reach = [value for panel in panels for trace in panel.traces for value in trace["y"]]
    if len(panels) < 2:
        return panels
    axis: dict[str, Any] = {"range": wide_range(reach)}
    logarithmic = _needs_logarithm(reach)
    if logarithmic:
        axis = {**_logarithmic(reach), "range": [math.log10(0.9 * min(reach)), math.log10(1.1 * max(reach))]}
    return [
        replace(
            panel,
            title=panel.title.removesuffix(LOG_MARK) + LOG_MARK * logarithmic,
            layout={**panel.layout, "yaxis": {**panel.layout["yaxis"], **axis}},
        )
        for panel in panels
    ]


def _logarithmic(values: list[float]) -> dict[str, Any]:
    """Return a logarithmic plotly axis for `values`.

    Ticks are at 1, 2 and 5 times the powers of ten. For many powers, ticks are at the powers alone.
    """
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    factors = (1, 2, 5) if len(powers) <= MOST_DECADES else (1,)
    step = -(-len(powers) // (2 * MOST_DECADES))
    ticks = [float(f"{factor * 10.0**power:.6g}") for power in powers[::step] for factor in factors]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _needs_logarithm(values: list[float]) -> bool:
    return max(values) > LOGARITHMIC * min(values) > 0


def _lines(arm: Named, points: list[Point], metric: str, look: Style) -> list[dict[str, Any]]:
    with_band = [(point, bounds) for point in points if (bounds := point.interval) is not None]
    traces: list[dict[str, Any]] = []
    if len(with_band) > 1:
        traces.append(_band(arm.name, with_band, look))
    name = plotly_text(arm.name)
    line: dict[str, Any] = {
        "x": [point.generation for point in points],
        "y": [_short(point.value) for point in points],
        "text": [f"{name}  <b>{shown(metric, p.value)}</b> {interval(metric, p)}" for p in points],
        "hovertemplate": "%{text}<extra></extra>",
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "meta": arm.name,
        "line": {"color": look.colour, "dash": look.dash, "width": 2},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 7},
    }
    if len(with_band) == 1:
        point, (low, high) = with_band[0]
        above = [high - point.value if p is point else 0 for p in points]
        below = [point.value - low if p is point else 0 for p in points]
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "color": look.colour,
        }
    return [*traces, line]


def _theory(arm: Named, points: list[Point], metric: str, look: Style) -> dict[str, Any]:
    """Return the plotly line of an arm's closed form: thin and dashed, in the arm's colour."""
    return {
        "x": [point.generation for point in points],
        "y": [_short(point.value) for point in points],
        "text": [f"{plotly_text(arm.name)}, closed form  {shown(metric, point.value)}" for point in points],
        "hovertemplate": "%{text}<extra></extra>",
        "type": "scatter", "mode": "lines", "name": f"{plotly_text(arm.name)}, closed form", "meta": arm.name,
        "line": {"color": f"{look.colour}:0.75", "dash": "6px,3px", "width": 1.4},
    }  # fmt: skip


def _band(name: str, points: list[tuple[Point, tuple[float, float]]], look: Style) -> dict[str, Any]:
    over = [point.generation for point, _ in points]
    return {
        "x": over + over[::-1],
        "y": [_short(high) for _, (_, high) in points] + [_short(low) for _, (low, _) in reversed(points)],
        "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": f"{look.colour}:{BAND_OPACITY}",
        "line": {"width": 0, "color": look.colour}, "hoverinfo": "skip", "meta": name,
    }  # fmt: skip


def _short(value: float) -> float:
    """Round to six significant digits. More cannot be seen, and take a third of the file."""
    return float(f"{value:.6g}")


def _value_axis(metric: str, values: list[float], logarithmic: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {}
    if describe(metric).kind == "share":
        axis["tickformat"] = ".0%"
        axis["rangemode"] = "tozero"
        if metric.startswith(("knowledge/", "format/", "questions/")):
            axis["range"] = [-0.02, 1.02]
            axis["dtick"] = 0.25
    if describe(metric).kind in ("rate", "seconds"):
        axis["rangemode"] = "tozero"
    if logarithmic:
        axis |= _logarithmic(values)
    elif values and "rangemode" not in axis and max(values) - min(values) < 1e-9:
        middle = values[0]
        room = abs(middle) * 0.1 or 1.0
        axis.setdefault("range", [middle - room, middle + room])
    return axis
