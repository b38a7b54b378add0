"""Figures of a comparison: curves of all runs laid over each other, and their differences over generations.

A colour is a run, a dash and a marker are an arm. Seeds of one arm are one curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from autophage.report.comparison.differences import MetricDifference, headline_differences, points_of, pooled_point
from autophage.report.comparison.gather import Comparison
from autophage.report.comparison.reading import ComparedRun
from autophage.report.facts.catalog import describe
from autophage.report.facts.series import Metrics
from autophage.report.figures.colours import CONTROL_DASHES, DASHES, LIGHT, SYMBOLS, Style
from autophage.report.figures.panels import BAND_OPACITY, Figure, Panel, metric_panel
from autophage.report.figures.planned import level, metric_figures
from autophage.report.learners.stories import story

FEW = 3
"""Curves of a panel whose bands keep the opacity of a report."""


@dataclass(frozen=True)
class Curve:
    """One arm of one run, as the figures name it."""

    name: str


@dataclass(frozen=True)
class Overlay:
    """Arms of several runs on one time axis (`figures.panels.Plotted`)."""

    arms: list[Curve]
    metrics: Metrics
    horizon: int

    @property
    def knows_facts(self) -> bool:
        return self.metrics.has("knowledge/accuracy") or self.metrics.has("knowledge/accuracy.torso")


def curve_name(run: str, arm: str) -> str:
    return f"{run} \u00b7 {arm}"


def looks(compared: Comparison) -> dict[str, Style]:
    """Return the style of each curve by its name."""
    controls = {arm.group for run in compared.runs for arm in run.arms if arm.control}
    found = {}
    for place, run in enumerate(compared.runs):
        colour = f"--arm{place % len(LIGHT)}"
        treated = neutral = 0
        for arm in compared.arms:
            if arm in controls:
                style = Style(colour, CONTROL_DASHES[neutral % len(CONTROL_DASHES)], "circle-open")
                neutral += 1
            else:
                style = Style(colour, DASHES[treated % len(DASHES)], SYMBOLS[treated % len(SYMBOLS)])
                treated += 1
            found[curve_name(run.letter, arm)] = style
    return found


def overlaid(compared: Comparison) -> Overlay:
    """Return the common arms of all runs as curves of one figure."""
    present = [(run, arm) for arm in compared.arms for run in compared.runs if arm in run.groups]
    rows = [row for run, arm in present for row in _rows(run, arm)]
    return Overlay(
        [Curve(curve_name(run.letter, arm)) for run, arm in present],
        Metrics(rows),
        max([0, *(run.planned or 0 for run in compared.runs), *(int(row["generation"]) for row in rows)]),
    )


def _rows(run: ComparedRun, arm: str) -> Iterator[dict[str, Any]]:
    last = min(one.last for one in run.group(arm))
    for generation in range(last + 1):
        for metric in run.metrics.names:
            if points := points_of(run, arm, generation, metric):
                point = vars(pooled_point(points))
                yield {**point, "arm": curve_name(run.letter, arm), "metric": metric, "generation": generation}


def curve_figures(compared: Comparison, curves: Overlay) -> list[Figure]:
    """Draw the planned figures of a report with the curves of all runs."""
    recipe = compared.first.recipe
    own = story(recipe) if recipe is not None else None
    figures = metric_figures(curves, looks(compared), own.figures if own else ())
    return [
        replace(figure, panels=[_lighter(panel, len(curves.arms)) for panel in figure.panels]) for figure in figures
    ]


def _lighter(panel: Panel, curves: int) -> Panel:
    """Return a panel whose bands stay transparent together, however many curves it has."""
    opacity = BAND_OPACITY * min(1.0, FEW / curves)
    traces = [
        {**one, "fillcolor": f"{one['fillcolor'].partition(':')[0]}:{opacity:.3g}"} if "fillcolor" in one else one
        for one in panel.traces
    ]
    return replace(panel, traces=traces)


def difference_figure(compared: Comparison, curves: Overlay, found: Iterable[MetricDifference]) -> list[Figure]:
    """Draw the differences of headline metrics from the first run over generations; empty without any."""
    kept = headline_differences(list(found))
    rows = [
        {**vars(one.found), "arm": curve_name(one.run, one.arm), "metric": one.metric, "generation": one.generation}
        for one in kept
    ]
    drawn = replace(curves, metrics=Metrics(rows))
    panels = [_difference_panel(compared, drawn, metric) for metric in dict.fromkeys(one.metric for one in kept)]
    lead = "Values of a run minus those of A, arm by arm. A 95% band beside the dotted line excludes 0."
    return [Figure("differences", "Differences from A", panels, lead)] if panels else []


def _difference_panel(compared: Comparison, drawn: Overlay, metric: str) -> Panel:
    panel = metric_panel(drawn, looks(compared), metric)
    share = describe(metric).kind == "share"
    axis: dict[str, Any] = {"tickformat": "+.2~%"} if share else {}
    panel = _lighter(panel, len(drawn.arms))
    return Panel(
        describe(metric).label, [*panel.traces, level(drawn, 0.0)], {**panel.layout, "yaxis": axis}, metric=metric
    )
