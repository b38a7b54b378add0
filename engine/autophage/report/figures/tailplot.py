"""Tail plot of arXiv 2305.17493: histogram of the samples' perplexities under model 0, by generation.

Each sample counts once. The axis is logarithmic, and all arms share its bins, so panels are comparable. Corpora
without the column (`measure.drift = false`) have no figure.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autophage.report.facts.corpora import first_shard, shown_generations
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.words import percent
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import Figure, Panel, share_height
from autophage.report.figures.surprisal import FEWEST, LINES
from autophage.store.rundir import RunDirectory

COLUMN = "ppl_under_base"
BINS = 40
BEYOND = 0.99
"""Quantile of the perplexities of generation 0 above which a sample counts as unlikely for model 0."""
OUTER = (0.001, 0.999)
"""Quantiles of all perplexities that the axis spans. The outermost bins count the samples outside."""


def tail_figure(run: RunDirectory, facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    """Draw histograms of the samples' perplexities under model 0, one panel for each arm.

    Each shown generation is one outline. Without such perplexities the list is empty.
    """
    found = {arm.name: values for arm in facts.arms if (values := _by_generation(run, arm))}
    if not found:
        return []
    logs = np.log10(np.concatenate([values for arm in found.values() for values in arm.values()]))
    low, high = np.quantile(logs, OUTER)
    edges = np.linspace(low - 0.02, high + 0.02, BINS + 1)
    panels = [_panel(name, values, edges, looks[name]) for name, values in found.items()]
    share_height(panels)
    lead = (
        "Perplexity of each sample under model 0. The faint line is generation 0, the full line the last. In a collapse, mass "
        "moves left, to the text that model 0 finds likeliest. A tail grows on the right, of text that model 0 would hardly "
        "have written."
    )
    return [Figure("tail-plot", "Later text under the base model", panels, lead)]


def _by_generation(run: RunDirectory, arm: ArmFacts) -> dict[int, np.ndarray]:
    found = {}
    for generation in shown_generations(arm.last, LINES):
        table = first_shard(run, arm.manifests[generation], [COLUMN])
        if table is not None:
            values = np.array([v for v in table.column(COLUMN).to_pylist() if v is not None and 0 < v < math.inf])
            if values.size >= FEWEST:
                found[generation] = values
    return found


def _panel(name: str, values: dict[int, np.ndarray], edges: np.ndarray, look: Style) -> Panel:
    traces: list[dict[str, Any]] = []
    last = max(values)
    for generation, sample in values.items():
        share = 1.0 if generation == last else 0.25 + 0.5 * generation / max(1, last)
        trace: dict[str, Any] = {
            "x": [float(f"{10**edge:.5g}") for edge in edges],
            "y": [round(float(y), 5) for y in outline(sample, edges)],
            "type": "scatter", "mode": "lines", "name": f"generation {generation}", "meta": name,
            "line": {"color": f"{look.colour}:{share:.2f}", "width": 2.2 if generation == last else 1.4, "shape": "hv"},
            "hovertemplate": f"generation {generation}: median {np.median(sample):.3g}<extra></extra>",
        }  # fmt: skip
        if generation == last and last > 0:
            trace |= {"fill": "tozeroy", "fillcolor": f"{look.colour}:0.10"}
        traces.append(trace)
    layout = {
        "xaxis": {
            "type": "log",
            "title": {"text": "perplexity of a sample under model 0"},
            "range": [float(edges[0]), float(edges[-1])],
        },
        "yaxis": {"tickformat": ".0%", "title": {"text": "share of samples"}},
        "hovermode": "closest",
    }
    return Panel(name, traces, layout, _note(values))


def outline(sample: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of the perplexities `sample` in each bin of their decimal logarithm, and a final 0.

    `edges` are the bounds of the bins. The 0 closes the outline. The outermost bins count the samples outside.
    """
    inside = np.clip(np.log10(sample), edges[0], edges[-1])
    return np.append(np.histogram(inside, edges)[0] / sample.size, 0.0)


def _note(values: dict[int, np.ndarray]) -> str:
    told = f"Generations {', '.join(map(str, values))}."
    last = max(values)
    if 0 not in values or last == 0:
        return told
    bound = float(np.quantile(values[0], BEYOND))
    beyond = float((values[last] > bound).mean())
    return (
        f"{told} {percent(beyond)} of generation {last} lies above the {100 * BEYOND:.0f}th percentile of generation 0."
    )
