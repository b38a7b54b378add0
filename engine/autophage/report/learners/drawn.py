"""Numbers and points that learners drew, by generation: densities for a Gaussian, scatter plots for a mixture.

A scatter plot shows the first chain of an arm. A density covers all chains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autophage.report.facts.corpora import shown_generations
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel
from autophage.report.figures.surprisal import LINES, density
from autophage.report.learners.breakdown import breakdown_figure
from autophage.store.manifest import shards, true_file
from autophage.store.numbers import read_numbers
from autophage.store.rundir import RunDirectory

POINTS = 140
"""Number of grid points of a density curve."""
MOST_POINTS, MOST_NUMBERS = 400, 4000
"""Most points that are drawn, and most numbers in a density, for each generation."""
POINT_GENERATIONS = 3
OUTER = (0.001, 0.999)
"""Quantiles of all drawn values that an axis spans."""

Found = dict[str, dict[int, np.ndarray]]
"""Arm -> generation -> numbers that the learner drew."""


def drawn_figure(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    """Draw the numbers that a learner drew, one panel for each arm.

    Colours go from faint (generation 0) to full (the last). For a classifier the breakdown of verification is drawn.
    Other learners have no figure.
    """
    figures: dict[str, Callable[[RunDirectory, RunFacts, dict[str, Style]], list[Figure]]] = {
        "gaussian": _densities,
        "mixture": _planes,
        "classifier": breakdown_figure,
    }
    draw = figures.get(facts.recipe.learner.kind)
    return draw(run, facts, looks) if draw else []


def _densities(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    found = _read(run, facts, LINES, _thinned)
    if not found:
        return []
    low, high = np.quantile(np.concatenate([one for arm in found.values() for one in arm.values()]), OUTER)
    grid = np.linspace(low, high, POINTS)
    panels = [_density_panel(name, values, grid, looks[name]) for name, values in found.items()]
    lead = (
        "All numbers that the chains of an arm drew. The faint line is generation 0, the full line the last. The distribution "
        "grows wider, because chains drift apart, and more pointed, because each chain grows narrow."
    )
    return [Figure("drawn", "Samples drawn", panels, lead)]


def _density_panel(name: str, values: dict[int, np.ndarray], grid: np.ndarray, look: Style) -> Panel:
    traces = [
        {
            **_trace(name, generation, max(values), look),
            "x": [round(float(x), 4) for x in grid],
            "y": [round(float(y), 5) for y in density(sample, grid)],
            "mode": "lines",
        }
        for generation, sample in values.items()
    ]
    layout = {
        "xaxis": {"title": {"text": "number drawn"}, "range": [float(grid[0]), float(grid[-1])]},
        "yaxis": {"showticklabels": False, "showgrid": False, "title": {"text": "density"}, "rangemode": "tozero"},
        "hovermode": "closest",
    }
    return Panel(name, traces, layout, f"Generations {', '.join(map(str, values))}.")


def _planes(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    found = _read(run, facts, POINT_GENERATIONS, lambda numbers: numbers[:MOST_POINTS, :2])
    if not found:
        return []
    points = np.concatenate([one for arm in found.values() for one in arm.values()])
    low, high = np.quantile(points, OUTER, axis=0)
    room = 0.05 * (high - low)
    ranges = [[float(a), float(b)] for a, b in zip(low - room, high + room, strict=True)]
    panels = [_plane(name, values, ranges, looks[name]) for name, values in found.items()]
    lead = (
        f"The first chain of each arm, with at most {MOST_POINTS} points a generation. Faint points are generation 0, full "
        "points the last."
    )
    return [Figure("drawn", "Samples drawn", panels, lead)]


def _plane(name: str, values: dict[int, np.ndarray], ranges: list[list[float]], look: Style) -> Panel:
    traces = [
        {
            **_trace(name, generation, max(values), look),
            "x": [round(float(x), 3) for x in points[:, 0]],
            "y": [round(float(y), 3) for y in points[:, 1]],
            "mode": "markers",
        }
        for generation, points in values.items()
    ]
    layout = {"xaxis": {"range": ranges[0]}, "yaxis": {"range": ranges[1]}, "hovermode": "closest"}
    return Panel(name, traces, layout, f"Generations {', '.join(map(str, values))}.")


def _trace(name: str, generation: int, last: int, look: Style) -> dict[str, Any]:
    share = 1.0 if generation == last else 0.25 + 0.5 * generation / max(1, last)
    colour = f"{look.colour}:{share:.2f}"
    return {
        "type": "scatter",
        "name": f"generation {generation}",
        "meta": name,
        "line": {"color": colour, "width": 2.2 if generation == last else 1.4},
        "marker": {"color": colour, "size": 3},
        "hovertemplate": f"generation {generation}<extra></extra>",
    }


def _thinned(numbers: np.ndarray) -> np.ndarray:
    flat: np.ndarray = numbers.ravel()
    return flat[:: max(1, flat.size // MOST_NUMBERS)]


def _read(run: RunDirectory, facts: RunFacts, lines: int, taken: Callable[[np.ndarray], np.ndarray]) -> Found:
    found = {arm.name: _of_arm(run, arm, lines, taken) for arm in facts.arms}
    return {name: values for name, values in found.items() if values}


def _of_arm(
    run: RunDirectory, arm: ArmFacts, lines: int, taken: Callable[[np.ndarray], np.ndarray]
) -> dict[int, np.ndarray]:
    values = {}
    for generation in shown_generations(arm.last, lines):
        paths = shards(run, arm.manifests[generation])[:1]
        if paths and all(path.is_file() for path in paths):
            true = [true_file(run, arm.manifests[generation], path.name) for path in paths]
            values[generation] = taken(read_numbers(true))
    return values
