"""SVG picture of a run: accuracy with interval bands, and the perplexity of form, over generations.

It is written as a string, so it needs neither browser nor plotting library. It suits light and dark pages. A text run
shows the perplexity of human text and the entropy of the model's own text. Another learner shows the first two metrics
of its story.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from autophage.display import safe
from autophage.report.facts.catalog import describe
from autophage.report.facts.load import RunFacts, load
from autophage.report.facts.pooling import pooled
from autophage.report.facts.series import Point
from autophage.report.facts.words import number, percent
from autophage.report.figures.colours import Style, styles, variables
from autophage.report.figures.panels import perplexity_bounds
from autophage.report.findings import knowledge_metric
from autophage.report.learners.stories import story
from autophage.store.rundir import RunDirectory

WIDTH, HEIGHT = 920, 380
TOP, BOTTOM = 84, 324
PANELS = ((56, 400), (486, 770))
"""Left and right edge of each panel, in SVG units. The arms' names stand to the right of the last one."""
LABEL_GAP = 17
LONGEST_LABEL = 18
"""Characters of an arm's name that fit beside the second panel."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Axes:
    """Map from generations and values of one panel to SVG coordinates. y grows downwards."""

    left: float
    right: float
    last: int
    low: float
    high: float

    def x(self, generation: float) -> float:
        return self.left + 8 + (self.right - self.left - 16) * generation / max(1, self.last)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return BOTTOM - (BOTTOM - TOP) * min(1.05, max(-0.05, share))


def hero_figure(run: RunDirectory, facts: RunFacts | None = None) -> str:
    """Return the picture of a run's two main metrics over generations, as SVG text.

    A run without metrics gives a picture that says so. Given `facts`, no file is read.
    """
    return draw(pooled(facts or load(run)))


def draw(facts: RunFacts) -> str:
    """Return the picture of a run whose arms are pooled over seeds, as SVG text."""
    knowledge = knowledge_metric(facts.metrics)
    fluency = "fluency/ppl_form" if facts.metrics.has("fluency/ppl_form") else "fluency/ppl_human"
    wanted: tuple[str, ...] = (knowledge, fluency) if knowledge else ("fluency/ppl_human", "onpolicy/entropy")
    if (own := story(facts.recipe)) is not None:
        wanted = (*own.told, "")[:2]
    looks = styles([(arm.name, arm.control) for arm in facts.arms])
    parts = [_opening(facts.recipe.name)]
    metrics = [metric for metric in wanted if facts.metrics.has(metric)]
    if not metrics:
        parts.append(_text(WIDTH / 2, HEIGHT / 2, "nothing has been measured yet", "soft", "middle"))
    for (left, right), metric in zip(PANELS, metrics, strict=False):
        parts += _panel(facts, looks, metric, left, right)
    if metrics:
        parts += _labels(facts, looks, metrics[-1], PANELS[len(metrics) - 1])
    return "\n".join([*parts, "</svg>", ""])


def _opening(name: str) -> str:
    light = "".join(f"{key}:{value};" for key, value in variables(dark=False).items() if "stage" not in key)
    dark = "".join(f"{key}:{value};" for key, value in variables(dark=True).items() if "stage" not in key)
    style = (
        f":root{{{light}--ink:#1c2127;--soft:#626b76;--grid:#e4e5e2}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}--ink:#e6e8ea;--soft:#98a1ab;--grid:#31363d}}}}"
        f"text{{font-family:{FONT};font-size:13px;fill:var(--ink)}}.soft{{fill:var(--soft);font-size:12px}}"
        ".title{font-size:15px;font-weight:600}.grid{stroke:var(--grid);stroke-width:1}"
    )
    label = escape(f"Run {name}: knowledge and fluency of each arm over generations")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{label}"><style>{style}</style>'
    )


def _panel(facts: RunFacts, looks: dict[str, Style], metric: str, left: float, right: float) -> list[str]:
    points = [point for arm in facts.arms for point in facts.metrics.series(arm.name, metric)]
    last = max([facts.generations, *(point.generation for point in points)])
    ticks = _ticks(metric, points)
    axes = Axes(left, right, last, ticks[0], ticks[-1])
    share = describe(metric).kind == "share"
    parts = [_text(left, 34, _title(metric), "title"), _text(left, 56, describe(metric).note, "soft")]
    for tick in ticks:
        y = axes.y(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 8, y + 4, percent(tick) if share else number(tick), "soft", "end"))
    step = max(1, -(-last // 8))
    parts += [
        _text(axes.x(generation), BOTTOM + 20, str(generation), "soft", "middle")
        for generation in range(0, last + 1, step)
    ]
    parts.append(_text((left + right) / 2, BOTTOM + 42, "generation", "soft", "middle"))
    for arm in [*facts.controls, *facts.treated]:
        parts += _line(axes, facts.metrics.series(arm.name, metric), looks[arm.name])
    return parts


def _line(axes: Axes, points: list[Point], look: Style) -> list[str]:
    if not points:
        return []
    paint = f"var({look.colour})"
    bounds = [(point.generation, interval) for point in points if (interval := point.interval)]
    parts = []
    if len(bounds) > 1:
        upper = [f"{axes.x(g):.1f},{axes.y(high):.1f}" for g, (_, high) in bounds]
        lower = [f"{axes.x(g):.1f},{axes.y(low):.1f}" for g, (low, _) in reversed(bounds)]
        parts.append(f'<polygon points="{" ".join(upper + lower)}" style="fill:{paint}" fill-opacity="0.16"/>')
    path = " ".join(f"{axes.x(p.generation):.1f},{axes.y(p.value):.1f}" for p in points)
    parts.append(
        f'<polyline points="{path}" fill="none" style="stroke:{paint}" stroke-width="2.2" stroke-linejoin="round" '
        f'stroke-dasharray="{look.dash_array}"/>'
    )
    parts += [
        f'<circle cx="{axes.x(p.generation):.1f}" cy="{axes.y(p.value):.1f}" r="3.2" style="fill:{paint}"/>'
        for p in points
    ]
    return parts


def _labels(facts: RunFacts, looks: dict[str, Style], metric: str, edges: tuple[float, float]) -> list[str]:
    """Return the arms' names as SVG texts at the ends of their lines.

    Names are moved apart where lines end close together.
    """
    ends = [(arm.name, last) for arm in facts.arms if (last := facts.metrics.last(arm.name, metric)) is not None]
    ticks = _ticks(metric, [point for arm in facts.arms for point in facts.metrics.series(arm.name, metric)])
    axes = Axes(*edges, facts.generations, ticks[0], ticks[-1])
    placed: list[tuple[float, str]] = []
    for name, point in sorted(ends, key=lambda end: -end[1].value):
        wanted = axes.y(point.value) + 4
        placed.append((max(wanted, placed[-1][0] + LABEL_GAP) if placed else wanted, name))
    overshoot = max(0.0, placed[-1][0] - BOTTOM) if placed else 0.0
    return [
        f'<text x="{edges[1] + 10}" y="{y - overshoot:.1f}" style="fill:var({looks[name].colour})" '
        f'font-weight="600">{_safe(_shortened(name))}</text>'
        for y, name in placed
    ]


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "\u2026"


def _ticks(metric: str, points: list[Point]) -> list[float]:
    """Return about five round axis values that span all points of a metric. Shares always span 0 to 1."""
    if describe(metric).kind == "share":
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    values = [bound for point in points for bound in (point.interval or (point.value, point.value))]
    low, high = min(values), max(values)
    if describe(metric).kind == "perplexity":
        low, high = perplexity_bounds(values)
    spread = (high - low) or abs(high) * 0.1 or 1.0
    step = 10 ** math.floor(math.log10(spread / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if spread / (factor * step) <= 5)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [(first + place) * step for place in range(max(1, count) + 1)]


def _title(metric: str) -> str:
    return "Accuracy, torso questions" if metric == "knowledge/accuracy.torso" else describe(metric).label


def _safe(text: str) -> str:
    return escape(safe(text, keep="\n"))


def _text(x: float, y: float, text: str, name: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{name}" text-anchor="{anchor}">{_safe(text)}</text>'
