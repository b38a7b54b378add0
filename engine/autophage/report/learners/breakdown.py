"""Accuracy against the share of wrong labels, for each verifier, with the theoretical breakdown point.

A run that sweeps `learner.error` gets one panel for each verifier. An arm is a stroke from its first model (open mark)
to its last (full mark). The panel also shows the closed form of the first model. The limit for unlimited rows is a
step at p*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autophage.recipe.schema import Recipe
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.series import Point
from autophage.report.facts.words import percent, plotly_text, shown
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel
from autophage.store.rundir import RunDirectory

BREAKDOWN = "breakdown"
"""Key of the figure on the breakdown of verification."""
METRIC = "learner/accuracy"
CURVE = 101
"""Number of points on the curve of the closed form."""
APART = 0.007
"""Horizontal shift of marks, as an error rate. Without it, their intervals would cover one another."""


def breakdown_figure(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    """Draw accuracy against the share of wrong labels, one panel for each verifier.

    A verifier with a single share has no panel. Without panels the list is empty.
    """
    verifiers: dict[str, list[ArmFacts]] = {}
    for arm in facts.treated:
        if arm.recipe is not None and facts.metrics.ends(arm.name, METRIC) is not None:
            verifiers.setdefault(_but_for_error(arm.recipe), []).append(arm)
    panels = [_panel(facts, arms, looks) for arms in verifiers.values() if len(arms) > 1]
    if not panels:
        return []
    lead = (
        "Each stroke is an arm, from model 0 (open mark) to the last model (full mark). Marks are shifted slightly to keep them "
        "apart. The dashed line is the closed form of model 0. The dotted line is the limit for unlimited rows: the best "
        "classifier below p* = 1 / (1 + psi / phi), its opposite above. The verifier keeps a share phi of right labels and a "
        "share psi of wrong labels."
    )
    return [Figure(BREAKDOWN, "Where verification breaks down", panels, lead)]


def _but_for_error(recipe: Recipe) -> str:
    """Return a recipe as JSON without its error rate.

    The arms of one panel share this key.
    """
    learner = recipe.learner.model_copy(update={"error": 0.0})
    return recipe.model_copy(update={"learner": learner}).model_dump_json()


def _panel(facts: RunFacts, arms: list[ArmFacts], looks: dict[str, Style]) -> Panel:
    from autophage.metrics.verification import (  # imports scipy, which is slow
        breakdown_point,
        expected_accuracy,
        limits,
    )

    recipe = arms[0].recipe
    assert recipe is not None
    learner = recipe.learner
    verifier = (learner.keep_right, learner.keep_wrong)
    star = breakdown_point(*verifier)
    errors = [float(error) for error in np.linspace(0, 1, CURVE)]
    expected = [
        expected_accuracy(recipe.sample.count, learner.dimensions, learner.separation, error, *verifier)
        for error in errors
    ]
    best, worst = limits(learner.separation)
    traces = [
        _line("closed form of model 0", errors, [round(value, 4) for value in expected], "6px,3px"),
        _line("unlimited rows", [0.0, star, star, 1.0], [best, best, worst, worst], "dot"),
        *(_stroke(facts, arm, looks[arm.name]) for arm in arms),
    ]
    layout = {
        "xaxis": {"range": [-0.02, 1.02], "tickformat": ".0%", "title": {"text": "wrong labels, p"}},
        "yaxis": {"range": [-0.02, 1.02], "tickformat": ".0%", "dtick": 0.25, "title": {"text": "accuracy"}},
        "hovermode": "closest",
    }
    kept = f"{percent(verifier[0])} of right and {percent(verifier[1])} of wrong labels kept"
    title = f"{kept}: p* = {percent(star)}"
    return Panel(title, traces, layout)


def _line(name: str, x: list[float], y: list[float], dash: str) -> dict[str, Any]:
    return {
        "x": x, "y": y, "type": "scatter", "mode": "lines", "name": name, "meta": "",
        "line": {"color": "--soft", "dash": dash, "width": 1.4}, "hovertemplate": f"{name}<extra></extra>",
    }  # fmt: skip


def _stroke(facts: RunFacts, arm: ArmFacts, look: Style) -> dict[str, Any]:
    """Return the plotly line from the first model of an arm to its last, both with their intervals."""
    ends = facts.metrics.ends(arm.name, METRIC)
    assert ends is not None
    assert arm.recipe is not None
    name = plotly_text(arm.name)
    return {
        "x": [round(arm.recipe.learner.error + side * APART, 5) for side in (-1, 1)],
        "y": [round(point.value, 4) for point in ends],
        "text": [f"{name}, generation {point.generation}  {shown(METRIC, point.value)}" for point in ends],
        "hovertemplate": "%{text}<extra></extra>",
        "type": "scatter", "mode": "lines+markers", "name": name, "meta": arm.name,
        "line": {"color": look.colour, "width": 1.2},
        "marker": {"color": look.colour, "symbol": ["circle-open", "circle"], "size": 8},
        "error_y": {
            "type": "data", "symmetric": False, "color": look.colour, "thickness": 1.2, "width": 0,
            "array": [_reach(point, 1) for point in ends], "arrayminus": [_reach(point, 0) for point in ends],
        },
    }  # fmt: skip


def _reach(point: Point, side: int) -> float:
    """Return the length of a point's interval below (`side` 0) or above (`side` 1) its value.

    Without an interval it is 0.
    """
    return 0.0 if point.interval is None else round(abs(point.interval[side] - point.value), 5)
