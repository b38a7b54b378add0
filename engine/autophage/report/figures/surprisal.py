"""Distribution of surprisal over a corpus, by generation. The figure shows the loss of tails.

Each sample counts once, with the mean surprisal of its tokens under the model that wrote it. Densities are smoothed on
one grid for all arms (Gaussian kernel, Silverman's width), so panels are comparable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autophage.report.facts.corpora import first_shard, shown_generations
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel, share_height
from autophage.store.rundir import RunDirectory

FEWEST = 20
"""Fewest samples of a density curve. With fewer, it would show the kernel and not the data."""
LINES = 4
POINTS = 140


def surprisal_figure(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    """Draw the density of the samples' mean surprisal, one panel for each arm.

    Each shown generation is one line. Without corpora the list is empty.
    """
    found = {arm.name: values for arm in facts.arms if (values := _by_generation(run, arm))}
    if not found:
        return []
    everything = np.concatenate([values for arm in found.values() for values in arm.values()])
    low, high = np.quantile(everything, [0.001, 0.999])
    room = 0.08 * (high - low) + 0.05
    grid = np.linspace(max(0.0, low - room), high + room, POINTS)
    panels = [_panel(name, values, grid, looks[name]) for name, values in found.items()]
    share_height(panels)
    lead = (
        "Mean surprisal of each sample under the model that wrote it. The faint line is generation 0, the full line the last. "
        "Mass that gathers on the left is text that its own model finds probable. A new tail on the right is text that even "
        "its own model finds improbable."
    )
    return [Figure("surprisal", "Surprisal of a model's own text", panels, lead)]


def _by_generation(run: RunDirectory, arm: ArmFacts) -> dict[int, np.ndarray]:
    found = {}
    for generation in shown_generations(arm.last, LINES):
        table = first_shard(run, arm.manifests[generation], ["logprob"])
        if table is not None:
            means = mean_surprisal(table.column("logprob"))
            if means.size >= FEWEST:
                found[generation] = means
    return found


def mean_surprisal(logprob: pa.ChunkedArray) -> np.ndarray:
    """Return the mean surprisal (nats per token) of each sample that has tokens.

    `logprob` is a column with a list of log-probs for each sample. Means that are not finite are left out.
    """
    lengths = pc.fill_null(pc.list_value_length(logprob), 0).to_numpy()
    lengths = lengths[lengths > 0]
    if not lengths.size:
        return np.empty(0)
    flat = pc.list_flatten(logprob).to_numpy().astype(float)
    means = -np.add.reduceat(flat, np.cumsum(lengths) - lengths) / lengths
    finite: np.ndarray = means[np.isfinite(means)]
    return finite


def _panel(name: str, values: dict[int, np.ndarray], grid: np.ndarray, look: Style) -> Panel:
    traces: list[dict[str, Any]] = []
    last = max(values)
    for generation, sample in values.items():
        share = 1.0 if generation == last else 0.25 + 0.5 * generation / max(1, last)
        trace: dict[str, Any] = {
            "x": [round(float(x), 4) for x in grid],
            "y": [round(float(y), 5) for y in density(sample, grid)],
            "type": "scatter", "mode": "lines", "name": f"generation {generation}",
            "line": {"color": f"{look.colour}:{share:.2f}", "width": 2.2 if generation == last else 1.4},
            "hovertemplate": f"generation {generation}: mean %{{customdata}} nats<extra></extra>",
            "customdata": [f"{sample.mean():.2f}"] * len(grid), "meta": name,
        }  # fmt: skip
        if generation == last and last > 0:
            trace |= {"fill": "tozeroy", "fillcolor": f"{look.colour}:0.10"}
        traces.append(trace)
    layout = {
        "xaxis": {
            "title": {"text": "mean surprisal of a sample, nats per token"},
            "range": [float(grid[0]), float(grid[-1])],
        },
        "yaxis": {"showticklabels": False, "showgrid": False, "title": {"text": "density of samples"}},
        "hovermode": "closest",
    }
    note = f"Generations {', '.join(map(str, values))}."
    return Panel(name, traces, layout, note)


def density(sample: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the Gaussian kernel density of `sample` [N] on `grid` [G], with Silverman's width.

    A point mass keeps a narrow bell.
    """
    spread = min(float(sample.std()), float(np.subtract(*np.quantile(sample, [0.75, 0.25]))) / 1.34) or float(
        sample.std()
    )
    width = max(0.9 * spread * sample.size**-0.2, (grid[-1] - grid[0]) / len(grid))
    total = np.zeros_like(grid)
    for part in np.array_split(sample, max(1, sample.size // 1024)):
        total += np.exp(-0.5 * ((grid[:, None] - part[None, :]) / width) ** 2).sum(axis=1)
    result: np.ndarray = total / (sample.size * width * np.sqrt(2 * np.pi))
    return result
